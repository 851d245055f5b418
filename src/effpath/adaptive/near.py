"""The candidates that an exact walk could take at a layer, and how near each is to being taken or dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from effpath.kernels.window import Window
from effpath.paths.rows import IdRows

CHUNK = 1 << 22  # candidates looked at together


@dataclass(frozen=True, eq=False)
class Near:
    """The candidates of one layer that speak for its active neurons, over a batch; [n] each, by image and slot.

    Attributes:
        image: which image, int64.
        slot: the synapse, int64.
        source, weight: id of the input and of the weight, int64.
        sign: −1 where the neuron's value is negative, else 1.
        bound: halfway between the smallest chosen contribution of the neuron and the largest that is not.
        scale: unit of the temperature: the bound, or the mean bound of the image's layer where that is greater.
        chosen: whether the exact selection takes it, bool.
        images: size of the batch.
    """

    image: Tensor
    slot: Tensor
    source: Tensor
    weight: Tensor
    sign: Tensor
    bound: Tensor
    scale: Tensor
    chosen: Tensor
    images: int

    def taken(self, x: Tensor, weight: Tensor, temperature: float) -> Tensor:
        """How far each is taken, [n] in 0 … 1, of inputs x [images, inputs] and weights [weights]."""
        c = x[self.image, self.source] * weight[self.weight] * self.sign
        return torch.sigmoid((c - self.bound) / (temperature * self.scale))

    def mean(self, taken: Tensor, worth: Tensor) -> Tensor:
        """Mean worth [images] where each candidate is taken so far, both [n]; NaN where nothing is."""
        none = taken.new_zeros(self.images)
        inside = none.index_add(0, self.image, taken * worth)
        total = none.index_add(0, self.image, taken)
        return torch.where(total > 0, inside / total.clamp(min=1e-30), torch.nan)


def find_near(window: Window, x: Tensor, weight: Tensor, value: Tensor, rows: IdRows) -> Near:
    """Return what could be taken of a layer: what is chosen, and what else speaks for a neuron that chooses.

    Args:
        window: of the layer, on the device of the values.
        x, weight, value: inputs [images, inputs], weights [weights] and outputs [images, outputs].
        rows: the synapses that were chosen, by image.
    """
    images = len(value)
    slots = torch.from_numpy(rows.values).to(x.device)
    image = torch.from_numpy(np.repeat(np.arange(images), rows.lengths)).to(x.device)
    # Neurons that choose something, ascending, as image · outputs + output; `row` is that of each synapse.
    neurons, row = torch.unique(image * window.outputs + slots // window.candidates, return_inverse=True)
    ends = torch.searchsorted(row, torch.arange(len(neurons) + 1, device=x.device))  # rows ascend too
    parts = []
    step = max(1, CHUNK // window.candidates)
    for start in range(0, len(neurons), step):
        part = neurons[start : start + step]
        b, o = part // window.outputs, part % window.outputs
        ids, weights = window.input_ids(o), window.weight_ids(o)
        inside = ids >= 0
        sign = torch.where(value[b, o] < 0, -1.0, 1.0).to(x.dtype)[:, None]
        c = torch.where(inside, x[b[:, None], ids.clamp(min=0)] * weight[weights] * sign, 0)
        taken = slice(int(ends[start]), int(ends[start + len(part)]))
        chosen = torch.zeros_like(inside)
        chosen[row[taken] - start, slots[taken] % window.candidates] = True
        bound = _halfway(c, chosen, inside)
        at, k = (chosen | (inside & (c > 0))).nonzero(as_tuple=True)
        parts.append(
            (b[at], o[at] * window.candidates + k, ids[at, k], weights[at, k], sign[at, 0], bound[at],
             chosen[at, k], bound, b)
        )  # fmt: skip
    if not parts:
        none = slots.new_empty(0)
        empty = x.new_empty(0)
        return Near(none, none, none, none, empty, empty, empty, none.bool(), images)
    b, slot, ids, weights, sign, bound, chosen, bounds, of = (torch.cat(part) for part in zip(*parts, strict=True))
    size = bounds.abs()
    mean = size.new_zeros(images).index_add(0, of, size) / torch.bincount(of, minlength=images).clamp(min=1)
    scale = torch.maximum(bound.abs(), mean[b]).clamp(min=1e-30)
    return Near(b, slot, ids, weights, sign, bound, scale, chosen, images)


def _halfway(c: Tensor, chosen: Tensor, inside: Tensor) -> Tensor:
    """The middle of the smallest chosen and the largest other contribution (0 if negative), [M, K] → [M]."""
    low = c.masked_fill(~chosen, torch.inf).amin(1)
    high = c.masked_fill(chosen | ~inside, -torch.inf).amax(1)
    high = torch.where(low > 0, high.clamp(min=0), high)
    return (low + torch.where(high.isinf(), low - low.abs(), high)) / 2
