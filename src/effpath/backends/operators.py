"""Operators as the compiled kernels take them: what does not depend on the images, and how a batch joins it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from effpath.backends.layout import Layout
from effpath.kernels.arguments import (
    Array,
    Criterion,
    Factors,
    Geometry,
    Inputs,
    Operands,
    Outputs,
    Selected,
    Taps,
    Task,
    Use,
    Weights,
)
from effpath.kernels.window import Window

Run = Callable[[Task], Selected]


@cache
def kernels() -> Any:
    """Return the compiled kernels; at first use they are compiled, or read from Numba's cache."""
    from effpath.kernels import cpu

    return cpu


class Batch(NamedTuple):
    """The arrays of a batch that an operator's kernel reads and marks."""

    xs: list[Array]  # float32 [B, elements] of each operand
    outputs: Outputs
    factors: Array  # float32 [B, P · T], the data-dependent factors of each image, or [B, 0]
    reached: Array  # uint8 [B, …], where operands are marked
    columns: Array  # int64 [operands], where their masks begin in it; -1 where the walk does not go on


@dataclass(frozen=True, eq=False, kw_only=True)
class Operator:
    """A weighted operator or choice, ready for its kernel.

    Attributes:
        window: its geometry.
        layout: of the outputs, as the kernel reads them.
        geometry: the same in numbers, as the kernel reads it.
        block: output positions that are worked on together.
        columns: int64 [operands], where their masks begin in the arena.
        guesses: float32 [BINS], what the kernel learns of cuts.
        slots: empty, of the type that holds a candidate.
        reads: layout of the input, where other readers have it stored as the kernel cannot read it.
    """

    window: Window
    layout: Layout
    geometry: Geometry
    block: int
    columns: Array
    guesses: Array
    slots: Array
    reads: Layout | None = None

    def bind(self, batch: Batch, criterion: Criterion, use: Use) -> Run:
        """Return the kernel over a batch, but for its task."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class RowOperator(Operator):
    """A linear layer or a convolution: the candidates of an output are multiplied by a row of weights."""

    weights: Weights
    taps: Taps

    def bind(self, batch: Batch, criterion: Criterion, use: Use) -> Run:
        """Return the kernel over a batch, but for its task."""
        inputs = Inputs(batch.xs[0], batch.reached, int(batch.columns[0]))

        def run(task: Task) -> Selected:
            selected: Selected = kernels().weigh(
                inputs, batch.outputs, self.taps, self.weights, self.guesses, self.geometry, criterion, task, use
            )
            return selected

        return run


@dataclass(frozen=True, eq=False, kw_only=True)
class TapOperator(Operator):
    """A pooling, a sum, a depthwise convolution, a product: an output has few candidates, one per tap.

    ``starts`` int64 [operands + 1] says where the operands begin in the numbering of the ``taps``; see
    `effpath.kernels.combine.combine`. ``adds_two`` says that it is the plain sum of two tensors of one shape.
    """

    starts: Array
    taps: Array
    factors: Factors
    adds_two: bool = False

    def bind(self, batch: Batch, criterion: Criterion, use: Use) -> Run:
        """Return the kernel over a batch, but for its task."""
        operands, factors = self._operands(batch), self.factors._replace(of_image=batch.factors)

        def run(task: Task) -> Selected:
            selected: Selected = kernels().combine(
                operands, batch.outputs, self.taps, factors, self.guesses, self.geometry, criterion, task, use
            )
            return selected

        return run

    def bind_sum(self, batch: Batch, criterion: Criterion) -> Callable[[tuple[int, int]], bool]:
        """Return the kernel of a plain sum of which nothing is kept, but for the first image and the last."""
        operands, coefficients = self._operands(batch), self.factors.coefficients
        factors = coefficients[0] if len(coefficients) else np.ones(2, np.float32)

        def run(rows: tuple[int, int]) -> bool:
            finite: bool = kernels().add_two(operands, batch.outputs, factors, criterion, *rows)
            return finite

        return run

    def _operands(self, batch: Batch) -> Operands:
        addresses = np.array([x.ctypes.data for x in batch.xs], np.int64)
        strides = np.array([x.shape[1] for x in batch.xs], np.int64)
        return Operands(addresses, strides, self.starts, batch.columns, batch.reached)
