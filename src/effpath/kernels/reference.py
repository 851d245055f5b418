"""The plain selection: exact, vectorised torch, any device. It is the oracle of every faster backend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from effpath.errors import NumericalError
from effpath.kernels.options import Options
from effpath.kernels.window import Window

CHUNK = 1 << 21  # candidates looked at together: bounds the memory of one step
TOLERANCE = 1e-12  # relative, of the target
LANES = 16  # of a sum, see `ordered_sum`
UNIT_BITS = 36  # of the largest value, see `carriers`


class Chosen(NamedTuple):
    """Chosen synapses of one operator over a batch, sorted by image, then slot."""

    image: Tensor  # int64 [N]
    slot: Tensor  # int64 [N]
    inputs: Tensor  # bool [B, inputs]


def select(contributions: Tensor, inside: Tensor, value: Tensor, bias: Tensor | None, options: Options) -> Tensor:
    """Choose the smallest set of contributions that reaches the target of each neuron (METHOD, Eq. 1).

    Args:
        contributions: [M, K] in canonical order, any float dtype; ranked as they come, summed in float64.
        inside: bool [M, K], False for padding, which is never a candidate.
        value: [M], the neuron's value before its nonlinearity, bias included.
        bias: [M] or None; used with ``options.bias == "candidate"``.
        options: θ, target, bias, fallback.

    Returns:
        bool [M, K], the chosen contributions.

    Raises:
        NumericalError: NaN or infinity in a candidate or a value.
    """
    c = torch.where(inside, contributions, 0)
    if not (torch.isfinite(c).all() and torch.isfinite(value).all()):
        raise NumericalError("NaN or infinity in a contribution or a value")
    flip = (value < 0)[:, None]
    c = torch.where(flip, -c, c)
    target = options.theta * (value.double().abs() if options.target == "output" else ordered_sum(c))

    summands = c
    if options.bias == "candidate" and bias is not None:
        turned = torch.where(flip[:, 0], -bias, bias).to(c.dtype)[:, None]
        summands = torch.cat([c, turned], dim=1)  # last: a contribution that ties with the bias goes first
    chosen = _reach(summands, target)[:, : c.shape[1]]

    fallback = (target <= 0) | ~(c > 0).any(1)
    if fallback.any():
        rows = fallback.nonzero()[:, 0]
        part = c[rows]
        if options.fallback == "positive":
            chosen[rows] = _reach(part, options.theta * ordered_sum(part.clamp(min=0)))
        else:
            chosen[rows] = _largest(part, inside[rows])
    if options.lone:
        rows = (1 / inside.sum(1).double() >= options.theta).nonzero()[:, 0]
        chosen[rows] = _largest(c[rows], inside[rows])
    return chosen


def ordered_sum(c: Tensor) -> Tensor:
    """Sum rows [M, K] in float64, in the order that every backend keeps, so that no target differs by rounding.

    Lane i adds up the candidates i, i + 16, i + 32, …; then lane i takes lane i + 8, i + 4, i + 2, i + 1.
    """
    wide = torch.nn.functional.pad(c.double(), (0, -c.shape[1] % LANES))
    lanes = wide.new_zeros(len(c), LANES)
    for part in torch.split(wide, LANES, dim=1):
        lanes = lanes + part
    half = LANES
    while half > 1:
        half //= 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _reach(c: Tensor, target: Tensor) -> Tensor:
    """Shortest prefix by descending value (ties: lower index) whose sum reaches the target; else all positive."""
    ranked, order = torch.sort(c, dim=1, descending=True, stable=True)
    positive = ranked > 0
    before = torch.cumsum(torch.where(positive, ranked, 0).double(), dim=1).roll(1, dims=1)
    before[:, 0] = 0
    wanted = (target - TOLERANCE * target.abs())[:, None]
    return torch.zeros_like(positive).scatter_(1, order, positive & (before < wanted))


def _largest(c: Tensor, inside: Tensor) -> Tensor:
    """Return the single largest candidate of each row, ties to the lower index; none in a row of padding."""
    masked = torch.where(inside, c, -torch.inf)
    first = (masked == masked.amax(1, keepdim=True)) & inside
    return first & (first.cumsum(1) == 1)


def widened(values: Tensor) -> Tensor:
    """Return numbers as float32, or as float64 where float32 would round them: products are never of fewer bits.

    A product of two 16-bit floats is exact in float32; of integers (bool and uint8 among them) it is in float64.
    """
    if values.dtype in (torch.float32, torch.float64):
        return values
    return values.to(torch.float32 if values.is_floating_point() else torch.float64)


def weigh(
    window: Window,
    x: Tensor,
    value: Tensor | None,
    active: Tensor,
    options: Options,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    factors: Tensor | None = None,
) -> Chosen:
    """Choose the synapses of the active outputs of a weighted operator.

    Args:
        window: its geometry.
        x: [B, inputs], the recorded input.
        value: [B, outputs], the recorded output; None means the sum of the contributions (pooling).
        active: bool [B, outputs].
        options: how to select.
        weight: the weight tensor, or None where every weight is 1 (or the window's coefficient).
        bias: [channels] or None.
        factors: [B, P·T], the data-dependent factor of each tap (attention weights), or None.
    """
    window, x = window.to(x.device), widened(x)
    flat_weight = None if weight is None else widened(weight.reshape(-1))
    factors = None if factors is None else widened(factors)

    def pick(image: Tensor, output: Tensor, ids: Tensor, inside: Tensor, values: Tensor) -> Tensor:
        coefficients = window.factors(output)
        c = values if flat_weight is None else values * flat_weight[window.weight_ids(output)]
        c = c if coefficients is None else c * coefficients.to(c.dtype)
        if factors is not None:
            taps = window.taps.shape[1]
            at = window.locate(output)[1][:, None] * taps + torch.arange(taps, device=output.device)
            c = c * factors[image[:, None], at].repeat_interleave(window.group_channels, dim=1)
        c = torch.where(inside, c, 0)
        v = ordered_sum(c) if value is None else widened(value[image, output])
        biases = None if bias is None else widened(bias)[window.locate(output)[0] % len(bias)]
        return select(c, inside, v, biases, options)

    return _for_active(window, x, active, pick)


def choose(window: Window, x: Tensor, active: Tensor, options: Options) -> Chosen:
    """Choose the largest input of every active output of a max pooling (first in window order, or all ties)."""
    window, x = window.to(x.device), widened(x)

    def pick(image: Tensor, output: Tensor, ids: Tensor, inside: Tensor, values: Tensor) -> Tensor:
        if not torch.isfinite(values).all():
            raise NumericalError("NaN or infinity in a pooled value")
        if options.ties == "first":
            return _largest(values, inside)
        masked = torch.where(inside, values, -torch.inf)
        return (masked == masked.amax(1, keepdim=True)) & inside

    return _for_active(window, x, active, pick)


def _for_active(window: Window, x: Tensor, active: Tensor, pick) -> Chosen:  # type: ignore[no-untyped-def]
    """Gather the candidates of the active outputs chunk by chunk, let ``pick`` choose among them."""
    images, outputs = active.nonzero(as_tuple=True)
    step = max(1, CHUNK // max(1, window.candidates))
    reached = torch.zeros_like(x, dtype=torch.bool)
    found_images, found_slots = [], []
    for start in range(0, len(images), step):
        image, output = images[start : start + step], outputs[start : start + step]
        ids = window.input_ids(output)
        inside = ids >= 0
        values = torch.where(inside, x[image[:, None], ids.clamp(min=0)], 0)
        row, k = pick(image, output, ids, inside, values).nonzero(as_tuple=True)
        reached[image[row], ids[row, k]] = True
        found_images.append(image[row])
        found_slots.append(output[row] * window.candidates + k)
    empty = images.new_empty(0)
    return Chosen(torch.cat(found_images or [empty]), torch.cat(found_slots or [empty]), reached)


def carriers(values: Tensor) -> Tensor:
    """Choose the fewest values of each row that carry half of what is positive in it: a layer's forward set.

    They are ranked in descending order, ties by the lower index. They count in whole units, of which the largest
    of its row has 2^35 to 2^36, so that sums are exact in any order.

    Args:
        values: [B, n], the outputs of a layer in canonical order; what is not positive carries nothing.

    Returns:
        bool [B, n]; a row without a positive value chooses none.

    Raises:
        NumericalError: NaN or infinity.
    """
    if not torch.isfinite(values).all():
        raise NumericalError("NaN or infinity in a layer's outputs")
    x = values.double().clamp(min=0)
    ranked, order = torch.sort(x, dim=1, descending=True, stable=True)
    exponents = np.frexp(x.amax(1, keepdim=True).cpu().numpy())[1]
    units = torch.from_numpy(np.floor(np.ldexp(ranked.cpu().numpy(), UNIT_BITS - exponents))).long().to(x.device)
    reached = torch.cumsum(units, dim=1)
    before = reached - units
    chosen = (ranked > 0) & (before < reached[:, -1:] - before)
    return torch.zeros_like(chosen).scatter_(1, order, chosen)
