"""The whole method a second time: loops over a hand-written list of steps, no graph, no tensors, no effpath.

A net is described by steps in forward order; each computes one array of float64 from earlier ones, and knows
for each of its elements which elements before it matter. Ids are flat, C·H·W order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oracle import select_plain

Array = np.ndarray
Index = tuple[int, ...]
Values = dict[str, Array]


@dataclass
class Found:
    """The effective path of one image."""

    neurons: dict[str, set[int]] = field(default_factory=dict)
    synapses: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    weights: dict[str, set[int]] = field(default_factory=dict)
    active: dict[str, set[int]] = field(default_factory=dict)

    def reach(self, name: str, element: int) -> None:
        self.active.setdefault(name, set()).add(element)


def flat(index: Index, shape: tuple[int, ...]) -> int:
    position = 0
    for i, length in zip(index, shape, strict=True):
        assert 0 <= i < length
        position = position * length + i
    return position


@dataclass
class Step:
    out: str
    source: str

    def forward(self, values: Values) -> Array:
        raise NotImplementedError

    def back(self, values: Values, found: Found, options: Any) -> None:
        raise NotImplementedError


@dataclass
class Layer(Step):
    """A layer with a weight; ``taps`` yields its summands in canonical order."""

    weight: Array
    bias: Array | None
    name: str
    parameter: str

    def taps(self, index: Index, shape: tuple[int, ...]) -> Iterator[tuple[Index, Index]]:
        raise NotImplementedError

    def shape(self, source: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def bias_at(self, index: Index) -> float | None:
        return None if self.bias is None else float(self.bias[index[0]])

    def forward(self, values: Values) -> Array:
        x = values[self.source]
        y = np.zeros(self.shape(x.shape))
        for index in np.ndindex(*y.shape):
            y[index] = self.bias_at(index) or 0.0
            for at, w in self.taps(index, x.shape):
                y[index] += x[at] * self.weight[w]
        return y

    def back(self, values: Values, found: Found, options: Any) -> None:
        x, y = values[self.source], values[self.out]
        for element in sorted(found.active.get(self.out, ())):
            index = tuple(int(i) for i in np.unravel_index(element, y.shape))
            taps = list(self.taps(index, x.shape))
            c = [float(np.float32(x[at]) * np.float32(self.weight[w])) for at, w in taps]
            for k in select_plain(c, float(y[index]), self.bias_at(index), options):
                at, w = taps[k]
                found.synapses.setdefault(self.name, set()).add((element, flat(at, x.shape)))
                found.weights.setdefault(self.parameter, set()).add(flat(w, self.weight.shape))
                found.reach(self.source, flat(at, x.shape))
        found.neurons[self.name] = set(found.active.get(self.out, ()))


@dataclass
class Linear(Layer):
    """Along the last dimension."""

    def shape(self, source: tuple[int, ...]) -> tuple[int, ...]:
        return (*source[:-1], len(self.weight))

    def bias_at(self, index: Index) -> float | None:
        return None if self.bias is None else float(self.bias[index[-1]])

    def taps(self, index: Index, shape: tuple[int, ...]) -> Iterator[tuple[Index, Index]]:
        for i in range(shape[-1]):
            yield (*index[:-1], i), (index[-1], i)


@dataclass
class Conv(Layer):
    """Two-dimensional, zero padding."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def shape(self, source: tuple[int, ...]) -> tuple[int, ...]:
        def length(n: int, k: int) -> int:
            return (n + 2 * self.padding - self.dilation * (k - 1) - 1) // self.stride + 1

        return (
            len(self.weight),
            length(source[1], self.weight.shape[2]),
            length(source[2], self.weight.shape[3]),
        )

    def taps(self, index: Index, shape: tuple[int, ...]) -> Iterator[tuple[Index, Index]]:
        o, r, c = index
        outputs, inner, height, width = self.weight.shape
        group = o // (outputs // self.groups)
        for kr in range(height):
            for kc in range(width):
                row = r * self.stride + kr * self.dilation - self.padding
                column = c * self.stride + kc * self.dilation - self.padding
                if 0 <= row < shape[1] and 0 <= column < shape[2]:
                    for i in range(inner):
                        yield (group * inner + i, row, column), (o, i, kr, kc)


@dataclass
class Transposed(Layer):
    """Transposed convolution, two-dimensional, one group; weight [in, out, kernel, kernel]."""

    stride: int = 1
    padding: int = 0

    def shape(self, source: tuple[int, ...]) -> tuple[int, ...]:
        k = self.weight.shape[2]
        return (
            self.weight.shape[1],
            *((n - 1) * self.stride - 2 * self.padding + k for n in source[1:]),
        )

    def taps(self, index: Index, shape: tuple[int, ...]) -> Iterator[tuple[Index, Index]]:
        o, r, c = index
        k = self.weight.shape[2]
        for kr in range(k):
            for kc in range(k):
                for row in range(shape[1]):
                    for column in range(shape[2]):
                        lands = (row * self.stride + kr - self.padding, column * self.stride + kc - self.padding)
                        if lands == (r, c):
                            for i in range(shape[0]):
                                yield (i, row, column), (i, o, kr, kc)


@dataclass
class Mean(Step):
    """Average pooling; ``windows`` maps an output index to its inputs."""

    size: tuple[int, ...]
    window: Callable[[Index], list[Index]]

    def forward(self, values: Values) -> Array:
        y = np.zeros(self.size)
        for index in np.ndindex(*self.size):
            inside = [values[self.source][at] for at in self.window(index)]
            y[index] = sum(inside) / len(inside)
        return y

    def back(self, values: Values, found: Found, options: Any) -> None:
        x = values[self.source]
        for element in sorted(found.active.get(self.out, ())):
            window = self.window(tuple(int(i) for i in np.unravel_index(element, self.size)))
            c = [float(x[at]) for at in window]
            for k in select_plain(c, sum(c), None, options):
                found.reach(self.source, flat(window[k], x.shape))


@dataclass
class Largest(Step):
    """Max pooling of [C, H, W] by a square window."""

    kernel: int
    stride: int
    padding: int = 0

    def window(self, index: Index, shape: tuple[int, ...]) -> list[Index]:
        o, r, c = index
        rows = [r * self.stride + k - self.padding for k in range(self.kernel)]
        columns = [c * self.stride + k - self.padding for k in range(self.kernel)]
        return [(o, i, j) for i in rows if 0 <= i < shape[1] for j in columns if 0 <= j < shape[2]]

    def forward(self, values: Values) -> Array:
        x = values[self.source]
        lengths = [(n + 2 * self.padding - self.kernel) // self.stride + 1 for n in x.shape[1:]]
        y = np.zeros((x.shape[0], *lengths))
        for index in np.ndindex(*y.shape):
            y[index] = max(x[at] for at in self.window(index, x.shape))
        return y

    def back(self, values: Values, found: Found, options: Any) -> None:
        x, y = values[self.source], values[self.out]
        for element in sorted(found.active.get(self.out, ())):
            index = tuple(int(i) for i in np.unravel_index(element, y.shape))
            equal = [at for at in self.window(index, x.shape) if x[at] == y[index]]
            for at in equal if options.ties == "all" else equal[:1]:
                found.reach(self.source, flat(at, x.shape))


@dataclass
class Sum(Step):
    """``source`` + sign · ``other``, of one shape."""

    other: str
    sign: float = 1.0

    def forward(self, values: Values) -> Array:
        return values[self.source] + self.sign * values[self.other]

    def back(self, values: Values, found: Found, options: Any) -> None:
        a, b = values[self.source].flatten(), values[self.other].flatten()
        y = values[self.out].flatten()
        for element in sorted(found.active.get(self.out, ())):
            c = [float(a[element]), float(self.sign * b[element])]
            for k in select_plain(c, float(y[element]), None, options):
                found.reach((self.source, self.other)[k], element)


@dataclass
class Each(Step):
    """A function of one element (or nothing but another shape)."""

    function: Callable[[Array], Array]

    def forward(self, values: Values) -> Array:
        return self.function(values[self.source])

    def back(self, values: Values, found: Found, options: Any) -> None:
        for element in found.active.get(self.out, ()):
            found.reach(self.source, element)


@dataclass
class Move(Step):
    """Every output element is a copy of ``where(index)`` = (name, index); None is a padding of zero."""

    size: tuple[int, ...]
    where: Callable[..., tuple[str, Index] | None]

    def forward(self, values: Values) -> Array:
        y = np.zeros(self.size)
        for index in np.ndindex(*self.size):
            origin = self.where(*index)
            if origin is not None:
                y[index] = values[origin[0]][origin[1]]
        return y

    def back(self, values: Values, found: Found, options: Any) -> None:
        for element in found.active.get(self.out, ()):
            origin = self.where(*(int(i) for i in np.unravel_index(element, self.size)))
            if origin is not None:
                found.reach(origin[0], flat(origin[1], values[origin[0]].shape))


@dataclass
class Scale(Step):
    """Data times (or over) a gate; ``at`` maps an output index to the gate's. ``equal`` follows both always."""

    gate: str
    at: Callable[[Index], Index] = lambda index: index
    function: Callable[[float, float], float] = lambda data, gate: data * gate
    equal: bool = False

    def forward(self, values: Values) -> Array:
        x, g = values[self.source], values[self.gate]
        y = np.zeros(x.shape)
        for index in np.ndindex(*x.shape):
            y[index] = self.function(x[index], g[self.at(index)])
        return y

    def back(self, values: Values, found: Found, options: Any) -> None:
        x, g = values[self.source], values[self.gate]
        for element in found.active.get(self.out, ()):
            found.reach(self.source, element)
            if options.gates or self.equal:
                index = tuple(int(i) for i in np.unravel_index(element, x.shape))
                found.reach(self.gate, flat(self.at(index), g.shape))


def forward(steps: list[Step], image: Array) -> Values:
    values = {"input": image.astype(np.float64)}
    for step in steps:
        values[step.out] = step.forward(values)
    return values


def walk(steps: list[Step], values: Values, options: Any, rank: int = 1) -> Found:
    logits = values[steps[-1].out]
    by_logit = sorted(range(len(logits)), key=lambda k: (-logits[k], k))
    found = Found()
    found.reach(steps[-1].out, by_logit[rank - 1])
    for step in reversed(steps):
        step.back(values, found, options)
    return found
