"""Constants as weights of layers: in the form that the parameter itself has, where there is one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.graph.node import Ref
from effpath.graph.origin import Origin, is_whole
from effpath.kernels.window import Scalars


@dataclass(frozen=True)
class Weight:
    """A constant that becomes the weight of a layer.

    Attributes:
        value: its numbers.
        letters: one per dimension of ``value``.
        origin: the parameter behind it, and which of its scalars each element is; None if it has none.
    """

    value: Tensor
    letters: str
    origin: Origin | None

    def repeated(self, letters: str, lengths: list[int]) -> Weight:
        """Return the weight with further dimensions, along which it is the same."""

        def wide(values: Tensor) -> Tensor:
            return values.reshape(*values.shape, *[1] * len(lengths)).expand(*values.shape, *lengths)

        origin = self.origin and replace(self.origin, ids=wide(self.origin.ids))
        return Weight(wide(self.value), self.letters + letters, origin)

    def dims(self, order: str) -> list[int]:
        """Return the dimensions in the order of some letters."""
        return [self.letters.index(letter) for letter in order]


@dataclass(frozen=True)
class Form:
    """One of the ways to store a weight: the order of its dimensions, and the shape that they are brought to."""

    order: str
    shape: tuple[int, ...]


class LayerWeights:
    """Constants, parameters and scalars of a graph whose products become layers."""

    def __init__(self, graph: Graph) -> None:
        """Start with those of the graph."""
        self.graph = graph
        self.constants: dict[str, Tensor] = {**graph.constants}
        self.parameters, self.scalars = {**graph.parameters}, {**graph.scalars}

    def store(self, name: str, weight: Weight, turned: Form, plain: Form) -> tuple[Ref, bool]:
        """Store a weight in the form that its parameter has, else in the plain one.

        Returns:
            What a layer reads as its weight, and whether that has the turned form.
        """
        whole = {form.order: self._is_whole(weight, form) for form in (turned, plain)}
        is_turned = whole[turned.order] and not whole[plain.order]
        form = turned if is_turned else plain
        value = weight.value.permute(weight.dims(form.order)).reshape(form.shape)
        if weight.origin is None:
            self.constants[name] = value.contiguous()
            return Ref(name), is_turned
        parameter = self.constants[weight.origin.name]
        if (
            whole[form.order]
            and (parameter.shape, parameter.dtype) == (value.shape, value.dtype)
            and torch.equal(parameter, value)
        ):
            return Ref(weight.origin.name), is_turned
        self.constants[name], self.parameters[name] = value.contiguous(), weight.origin.name
        if not whole[form.order]:
            ids = weight.origin.ids.permute(weight.dims(form.order)).reshape(-1)
            self.scalars[name] = Scalars(ids, parameter.numel())
        return Ref(name), is_turned

    def _is_whole(self, weight: Weight, form: Form) -> bool:
        """Whether a form has the parameter's scalars all, in their order."""
        if weight.origin is None:
            return False
        ids = weight.origin.ids.permute(weight.dims(form.order)).reshape(-1)
        return is_whole(ids, self.constants[weight.origin.name].numel())
