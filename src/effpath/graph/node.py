"""The nodes of a graph: functional calls, and references from one to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch


@dataclass(frozen=True)
class Ref:
    """A reference to the result of another node, to a constant or to the input, by name."""

    name: str


@dataclass(frozen=True, eq=False)
class Node:
    """One functional call.

    Attributes:
        name: unique; the module path where the module is one operator, else module path and operator.
        op: the operator's name without its overload, such as ``conv2d``.
        args: the arguments by the names of the operator's schema, with `Ref` for tensors.
        function: what computes it.
        keywords: names of the arguments that are passed by keyword.
        module: path of the module that called it.
        shape: shape of the result for a batch of one; () for numbers and tuples.
        dtype: of the result; None for numbers and tuples.
        unnamed: a rewrite made it; `effpath.graph.names` names it after its parameter.
    """

    name: str
    op: str
    args: Mapping[str, Any]
    function: Callable[..., Any]
    keywords: frozenset[str] = frozenset()
    module: str = ""
    shape: tuple[int, ...] = ()
    dtype: torch.dtype | None = None
    unnamed: bool = False

    def __getitem__(self, argument: str) -> Any:
        """Return one argument."""
        return self.args[argument]

    @cached_property
    def refs(self) -> tuple[str, ...]:
        """Names of everything the node reads, in order of appearance."""
        return tuple(iter_refs(self.args.values()))

    @property
    def place(self) -> str:
        """Say where the node is, for messages."""
        return f"operator {self.op!r}, node {self.name!r}, module {self.module or '(top)'!r}"

    def call(self, lookup: Callable[[str], Any]) -> Any:
        """Compute the node; ``lookup`` gives the value of a name."""
        values = {key: substitute(value, lookup) for key, value in self.args.items()}
        positional = [v for k, v in values.items() if k not in self.keywords]
        return self.function(*positional, **{k: values[k] for k in self.keywords})

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields for pickling: an operator of torch by its name."""
        return {**self.__dict__, "function": by_name(self.function)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take the fields back."""
        self.__dict__.update({**state, "function": from_name(state["function"])})


@dataclass(frozen=True)
class OperatorName:
    """An operator of torch by namespace, name and overload; it cannot be pickled itself."""

    namespace: str
    name: str
    overload: str


def by_name(function: Any) -> Any:
    """Return what can be pickled of a node's function: names of torch's operators, also inside a ``partial``."""
    if isinstance(function, torch._ops.OpOverload):
        namespace, _, name = function._schema.name.partition("::")
        return OperatorName(namespace, name, function._overloadname)
    if isinstance(function, partial):
        return partial(function.func, *map(by_name, function.args), **function.keywords)
    return function


def from_name(function: Any) -> Any:
    """Return the function that `by_name` was given."""
    if isinstance(function, OperatorName):
        return getattr(getattr(getattr(torch.ops, function.namespace), function.name), function.overload)
    if isinstance(function, partial):
        return partial(function.func, *map(from_name, function.args), **function.keywords)
    return function


def iter_refs(values: Iterable[Any]) -> Iterator[str]:
    """Yield the names referred to anywhere in (nested) argument values."""
    for value in values:
        if isinstance(value, Ref):
            yield value.name
        elif isinstance(value, (list, tuple)):
            yield from iter_refs(value)


def substitute(value: Any, lookup: Callable[[str], Any]) -> Any:
    """Replace each `Ref` in a (nested) argument value by what ``lookup`` gives for its name."""
    if isinstance(value, Ref):
        return lookup(value.name)
    if isinstance(value, (list, tuple)):
        return type(value)(substitute(v, lookup) for v in value)
    return value
