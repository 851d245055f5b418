"""What METHOD section 2 and 3 say, in plain Python and torch alone: nothing here comes from effpath.

The candidates of an operator are not computed from its geometry but found out by probing it: an operator
with a weight is bilinear in (image, weight), so its Jacobian by the image, taken at each unit weight, says
which pixel reaches which output through which scalar of the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

Function = Callable[[Tensor], Tensor]
NO_WEIGHT = -1


@dataclass
class Candidate:
    """One summand of an output: pixel · weight (the flat id of it, or a constant coefficient)."""

    pixel: int
    weight: int
    coefficient: float


@dataclass
class Row:
    """The summands of one output in canonical order, and the constant that comes on top of them."""

    candidates: list[Candidate]
    bias: float | None


def jacobian(f: Function, shape: tuple[int, ...]) -> np.ndarray:
    """Matrix [outputs, inputs] of an affine function of one image, in float64."""
    zeros = torch.zeros(shape, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda x: f(x).flatten(), zeros, vectorize=True)
    return matrix.flatten(1).numpy()


def weight_name(op: nn.Module) -> str:
    return next(name for name, _ in op.named_parameters() if name.endswith("weight"))


def _as_function(op: nn.Module, **changes: Tensor) -> Function:
    state = {name: p.detach().double() for name, p in op.named_parameters()}
    state.update(changes)
    return lambda x: functional_call(op, state, (x[None],))[0]


def rows_of_weighted(op: nn.Module, shape: tuple[int, ...], *, transposed: bool = False) -> list[Row]:
    """Rows of a linear layer or convolution, whatever happens to the image before it in the module."""
    name = weight_name(op)
    weight = dict(op.named_parameters())[name].detach()
    bias_names = [n for n, _ in op.named_parameters() if n.endswith("bias")]
    none = {n: torch.zeros_like(dict(op.named_parameters())[n]).double() for n in bias_names}
    outputs = len(_as_function(op)(torch.zeros(shape).double()).flatten())
    bias = _as_function(op)(torch.zeros(shape).double()).flatten().tolist() if bias_names else None
    found: list[list[tuple[tuple[int, ...], Candidate]]] = [[] for _ in range(outputs)]
    values = weight.flatten().tolist()
    for j in range(weight.numel()):
        unit = torch.zeros(weight.numel(), dtype=torch.float64)
        unit[j] = 1
        matrix = jacobian(_as_function(op, **none, **{name: unit.reshape(weight.shape)}), shape)
        at = [int(i) for i in np.unravel_index(j, weight.shape)]
        order = (*at[2:], at[0] if transposed else at[1])  # kernel row, kernel column, input channel
        for output, pixel in np.argwhere(matrix != 0):
            candidate = Candidate(int(pixel), j, values[j])
            found[output].append((order, candidate))
    return [
        Row([c for _, c in sorted(row, key=lambda pair: pair[0])], None if bias is None else bias[o])
        for o, row in enumerate(found)
    ]


def rows_of_sum(op: nn.Module, shape: tuple[int, ...], pixels: np.ndarray, *, pooled: bool) -> list[Row]:
    """Rows of a pooling (weights of 1) or of a sum of tensors (their own signs and factors).

    ``pixels`` gives the order of the summands: the operands of a sum in the order of its formula.
    """
    matrix = jacobian(lambda x: op(x[None])[0], shape)
    return [
        Row([Candidate(i, NO_WEIGHT, 1.0 if pooled else float(row[i])) for i in pixels.tolist() if row[i]], None)
        for row in matrix
    ]


def rows_of_product(op: nn.Module, image: Tensor, values: np.ndarray) -> list[Row]:
    """Rows of a product of two parts of the image: the ``values``, in this order, times what the rest is.

    Which values reach an output is seen with a rest of ones; how much they count, at the image itself.
    """
    flat = image.double().flatten()
    ones = torch.ones_like(flat)
    ones[values] = flat[values]

    def derivative(at: Tensor) -> np.ndarray:
        function = lambda x: op(x.reshape(1, *image.shape))[0].flatten()  # noqa: E731
        return torch.autograd.functional.jacobian(function, at, vectorize=True).numpy()

    reached, matrix = derivative(ones), derivative(flat)
    return [
        Row([Candidate(i, NO_WEIGHT, float(matrix[o, i])) for i in values.tolist() if reached[o, i]], None)
        for o in range(len(matrix))
    ]


def windows_of_max(op: nn.Module, shape: tuple[int, ...]) -> list[list[int]]:
    """Pixels of each window of a max pooling, found with images that are 1 at one pixel."""
    pixels = int(np.prod(shape))
    shown = op(torch.eye(pixels).reshape(pixels, *shape)).flatten(1)
    return [np.flatnonzero(shown[:, o].numpy() > 0).tolist() for o in range(shown.shape[1])]


def select_plain(contributions: list[float], value: float, bias: float | None, options: Any) -> list[int]:
    """Indices of the chosen contributions of one neuron, METHOD section 2 step by step."""
    c = list(contributions)
    if value < 0:
        c, value = [-x for x in c], -value
        bias = None if bias is None else -bias
    ranked = sorted(range(len(c)), key=lambda k: (-c[k], k))
    if options.lone and c and 1 / len(c) >= options.theta:
        return ranked[:1]
    target = options.theta * (value if options.target == "output" else sum(c))
    positive = [k for k in ranked if c[k] > 0]
    if target <= 0 or not positive:
        if options.fallback == "argmax":
            return ranked[:1]
        return _prefix([(c[k], k) for k in positive], options.theta * sum(c[k] for k in positive))
    summands = [(c[k], k) for k in positive]
    if options.bias == "candidate" and bias is not None and bias > 0:
        behind = sum(1 for x, _ in summands if x >= bias)
        summands.insert(behind, (bias, -1))
    return [k for k in _prefix(summands, target) if k >= 0]


def _prefix(summands: list[tuple[float, int]], target: float) -> list[int]:
    chosen: list[int] = []
    running = 0.0
    for value, k in summands:
        if running >= target - 1e-12 * abs(target):
            break
        running += value
        chosen.append(k)
    return chosen


def contributions(row: Row, image: np.ndarray) -> list[float]:
    """Products of float32 numbers, rounded to float32."""
    return [float(np.float32(image[s.pixel]) * np.float32(s.coefficient)) for s in row.candidates]


def choose_max_plain(window: list[int], image: np.ndarray, options: Any) -> list[int]:
    """Chosen pixels of one window of a max pooling."""
    if not window:
        return []
    largest = max(image[i] for i in window)
    equal = [i for i in window if image[i] == largest]
    return equal if options.ties == "all" else equal[:1]
