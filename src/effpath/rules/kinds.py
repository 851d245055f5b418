"""What a rule can say of an operator: weighted, choice, route or gate."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from effpath.kernels.window import Window


@dataclass(frozen=True, eq=False)
class Weighted:
    """Outputs are weighted sums; `select` decides which summands matter.

    Attributes:
        sources: names of the tensors that the window's input ids run over, laid end to end.
        window: the candidates of every output.
        weight: name of the constant that holds the weights, None for weights of 1.
        bias: name of the constant bias, or None.
        parameter: name of the model's parameter behind ``weight``; None for pooling, add, resize.
        pooled: the value to explain is the sum of the contributions (average pooling with weight 1).
        factors: name of the tensor of the data-dependent factor of each tap (attention weights, taken as
            constants), flat [P, T] of the window an image; it is followed only with ``gates=True``.
    """

    sources: tuple[str, ...]
    window: Window
    weight: str | None = None
    bias: str | None = None
    parameter: str | None = None
    pooled: bool = False
    factors: str | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """Each output is the largest of its candidates (max pooling)."""

    sources: tuple[str, ...]
    window: Window


@dataclass(frozen=True, eq=False)
class Route:
    """Each output stands for one input element.

    ``ids`` is int32 or int64 [outputs] into the sources laid end to end, -1 where an output stands for none
    (padding, a constant); None is the identity.
    """

    sources: tuple[str, ...]
    ids: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Gate:
    """A route to the data operand; the gates' own routes are followed only with ``gates=True``.

    ``equal`` says that the operands cannot be told apart, so that all are followed in any case.
    """

    data: Route
    gates: tuple[Route, ...] = ()
    equal: bool = False


Kind = Weighted | Choice | Route | Gate
