"""What a rule can say of an operator: weighted, choice, route or gate.

Each kind says itself what a walk does there: which routes it follows (`routes`), which tensors it may reach
(`reaches`) and which it must have recorded (`reads`). The first two depend on the public option ``gates``, here
``follow_gates``: whether gates and attention weights are followed, or taken as constants.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from effpath.kernels.window import Window


@dataclass(frozen=True, eq=False)
class _Selecting:
    """A kind at which a kernel selects among the candidates of every active output."""

    sources: tuple[str, ...]
    window: Window

    selects: ClassVar[Literal[True]] = True

    def reaches(self, *, follow_gates: bool) -> tuple[str, ...]:
        """Return the tensors that a walk may go on to."""
        return self.sources

    def reads(self, name: str) -> tuple[str, ...]:
        """Return the tensors whose values the selection needs; ``name`` is that of the node."""
        return self.sources


@dataclass(frozen=True, eq=False)
class Weighted(_Selecting):
    """Outputs are weighted sums; `select` decides which summands matter.

    Attributes:
        sources: names of the tensors whose concatenated elements the window's input ids run over.
        window: the candidates of every output.
        weight: name of the constant that holds the weights, None for weights of 1.
        bias: name of the constant bias, or None.
        parameter: name of the model's parameter behind ``weight``; None for pooling, add, resize.
        pooled: the value to explain is the sum of the contributions (average pooling with weight 1).
        factors: name of the tensor of the data-dependent factor of each tap (attention weights, taken as
            constants), flat [P, T] of the window per image; it is followed only with ``gates=True``.
    """

    weight: str | None = None
    bias: str | None = None
    parameter: str | None = None
    pooled: bool = False
    factors: str | None = None

    def reaches(self, *, follow_gates: bool) -> tuple[str, ...]:
        """Return the tensors that a walk may go on to."""
        return (*self.sources, self.factors) if follow_gates and self.factors else self.sources

    def reads(self, name: str) -> tuple[str, ...]:
        """Return the tensors whose values the selection needs; ``name`` is that of the node."""
        return (*self.sources, *([] if self.pooled else [name]), *([self.factors] if self.factors else []))


class Choice(_Selecting):
    """Each output is the largest of its candidates (max pooling): a selection without weights."""

    weight: ClassVar[None] = None
    bias: ClassVar[None] = None
    parameter: ClassVar[None] = None
    factors: ClassVar[None] = None


class _Routing(ABC):
    """A kind whose outputs stand for elements, whatever the values are."""

    selects: ClassVar[Literal[False]] = False

    @abstractmethod
    def routes(self, *, follow_gates: bool) -> tuple[Route, ...]:
        """Return the routes that a walk follows, that to the data first."""

    def reaches(self, *, follow_gates: bool) -> tuple[str, ...]:
        """Return the tensors that a walk may go on to."""
        return tuple(source for route in self.routes(follow_gates=follow_gates) for source in route.sources)

    def reads(self, name: str) -> tuple[str, ...]:
        """Return nothing: values do not matter."""
        return ()


@dataclass(frozen=True, eq=False)
class Route(_Routing):
    """Each output stands for one input element.

    ``ids`` is int32 or int64 [outputs] into the concatenated sources, -1 where an output stands for none
    (padding, a constant); None is the identity.
    """

    sources: tuple[str, ...]
    ids: Tensor | None = None

    gates: ClassVar[tuple[Route, ...]] = ()

    @property
    def data(self) -> Route:
        """The route to the data: this one."""
        return self

    def routes(self, *, follow_gates: bool) -> tuple[Route, ...]:
        """Return the route itself."""
        return (self,)


@dataclass(frozen=True, eq=False)
class Gate(_Routing):
    """A route to the data operand; the gates' own routes are followed only with ``gates=True``.

    ``equal`` says that the operands cannot be told apart, so that all are followed in any case.
    """

    data: Route
    gates: tuple[Route, ...] = ()
    equal: bool = False

    def routes(self, *, follow_gates: bool) -> tuple[Route, ...]:
        """Return the routes that a walk follows, that to the data first."""
        return (self.data, *self.gates) if follow_gates or self.equal else (self.data,)


Selection = Weighted | Choice
Kind = Weighted | Choice | Route | Gate
