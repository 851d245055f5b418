"""A small frozen graph of functional nodes: what `torch.export` saw, in our own words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from effpath.errors import InputError, NumericalError
from effpath.files.cache import fingerprint
from effpath.graph.inputs import as_images, plain_memory
from effpath.kernels.window import Scalars

SHAPE_ONLY = (  # operators that look at the shape of what they read, never at its values
    "sym_size", "new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like",
    "empty_like",
)  # fmt: skip


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
        unnamed: a rewrite made it; it is named after its parameter at the end.
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

    @property
    def refs(self) -> list[str]:
        """Names of everything the node reads, in order of appearance."""
        return list(iter_refs(self.args.values()))

    @property
    def place(self) -> str:
        """Where the node is, for messages."""
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


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as a sequence of functional nodes in topological order.

    Attributes:
        nodes: in the order of the forward pass.
        constants: parameters, buffers and what was computed from them alone, by name.
        input: name of the image input.
        logits: name of the node the walk starts from (a last softmax is left out).
        input_shape: (C, H, W) of one image.
        dtype: of the input.
        batched: False where the network works on a batch of one only (static export, or a batch does not give
            what its images give alone, one behind the other, throughout); images are then run one by one.
        parameters: for a constant that a rewrite made, the name of the parameter it stands for.
        fingerprint: sha256 over structure and parameters, as the user gave them.
        trained: names of the constants that are parameters of the model, not buffers.
        made: for a constant that was computed from others, the node that computed it.
        scalars: for a constant whose elements are a parameter's in another order, or some of them, which.
        structure: what `effpath.graph.structure` wrote of it, to capture the same network again at once; None
            where text cannot hold it.
        plans: what the rules made of this very graph, kept by `effpath.rules.plan_for`.

    A graph can be pickled and copied.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    input: str
    logits: str
    input_shape: tuple[int, ...]
    dtype: torch.dtype
    batched: bool
    parameters: Mapping[str, str]
    fingerprint: str
    trained: frozenset[str] = frozenset()
    made: Mapping[str, Node] = field(default_factory=dict, repr=False)
    scalars: Mapping[str, Scalars] = field(default_factory=dict, repr=False)
    structure: str | None = field(default=None, repr=False)
    plans: dict[bool, Any] = field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        """Say in one line which network this is."""
        return (
            f"Graph({len(self.nodes)} nodes, input {self.input_shape} of {self.dtype}, {self.classes} classes, "
            f"fingerprint {self.fingerprint[:12]})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields for pickling, without what can be made again."""
        return {own.name: getattr(self, own.name) for own in fields(self) if own.init}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take the fields back."""
        self.__dict__.update(state, plans={})

    @cached_property
    def architecture(self) -> str:
        """Fingerprint of the network apart from its weights."""
        nodes = [
            (node.name, node.op, [(key, repr(value)) for key, value in node.args.items()], node.shape)
            for node in self.nodes
        ]
        constants = [
            (name, str(value.dtype), tuple(value.shape)) for name, value in sorted(self.constants.items())
        ]
        return fingerprint(self.input_shape, str(self.dtype), self.logits, nodes, constants)

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        """Nodes that read each name."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.refs):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def live(self) -> frozenset[str]:
        """Names whose value depends on the pixels of the image (not only on its shape)."""
        found = {self.input}
        for node in self.nodes:
            if node.op not in SHAPE_ONLY and any(name in found for name in node.refs):
                found.add(node.name)
        return frozenset(found)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        for tensor in self.constants.values():
            return tensor.device
        return torch.device("cpu")

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.shape(self.logits)[-1]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a node's result, or of the input, for a batch of one."""
        return (1, *self.input_shape) if name == self.input else self.by_name[name].shape

    def size(self, name: str) -> int:
        """Elements an image of a node's result or of the input."""
        total = 1
        for length in self.shape(name):
            total *= length
        return total

    def check_images(self, images: Any) -> Tensor:
        """Return images on the graph's device, in its dtype and in plain memory, or say what is wrong with them.

        A NumPy array, or a list of arrays or tensors of one shape, is taken too.
        """
        wanted = f"images of shape (N, {', '.join(map(str, self.input_shape))})"
        images = as_images(images, wanted)
        if images.dim() != len(self.input_shape) + 1 or tuple(images.shape[1:]) != self.input_shape:
            hint = (
                "add a batch dimension: images[None]"
                if tuple(images.shape) == self.input_shape
                else ("resize them, or capture the model with an example of this shape")
            )
            raise InputError(f"expected {wanted}, got {tuple(images.shape)}; {hint}")
        if not len(images):
            raise InputError(f"expected {wanted}, got none")
        if not images.is_floating_point():
            raise InputError(f"expected float {wanted}, got {images.dtype}; convert: images.float() / 255")
        if not torch.isfinite(images).all():
            bad = (~torch.isfinite(images)).flatten(1).any(1).nonzero()[:, 0].tolist()
            raise NumericalError(f"NaN or infinity in the images at index {bad[:8]}; drop or repair them")
        return plain_memory(images.to(self.device, self.dtype))

    def run(
        self,
        images: Tensor,
        keep: Iterable[str] = (),
        *,
        given: Mapping[str, Any] | None = None,
        change: Callable[[str, Any], Any] | None = None,
    ) -> dict[str, Tensor]:
        """Run the forward pass and return the values of the names in ``keep`` (default: the logits).

        Values that nothing needs any more are freed on the way.

        Args:
            images: [N, C, H, W], as `check_images` returns them.
            keep: names of nodes, or of the input.
            given: values of nodes known from an earlier run; what only they are computed from is not computed.
            change: called with the name and the value of every node, computed or given; the network goes on with
                what it returns. Gradients flow through the nodes only with it.
        """
        with torch.set_grad_enabled(change is not None and torch.is_grad_enabled()):
            return self._run(images, set(keep) or {self.logits}, given or {}, change or (lambda _, value: value))

    def _run(
        self, images: Tensor, wanted: set[str], given: Mapping[str, Any], change: Callable[[str, Any], Any]
    ) -> dict[str, Tensor]:
        needed = self.upstream(wanted, given)
        nodes = [node for node in self.nodes if node.name in needed and node.name not in given]
        readers: dict[str, int] = {}
        for node in nodes:
            for name in node.refs:
                readers[name] = readers.get(name, 0) + 1
        values: dict[str, Any] = {self.input: images, **{n: change(n, v) for n, v in given.items() if n in needed}}

        def lookup(name: str) -> Any:
            return self.constants[name] if name in self.constants else values[name]

        for node in nodes:
            values[node.name] = change(node.name, node.call(lookup))
            for name in node.refs:
                readers[name] -= 1
                if not readers[name] and name in values and name not in wanted:
                    del values[name]
        return {name: values[name] for name in wanted}

    def upstream(self, names: Iterable[str], given: Collection[str] = ()) -> set[str]:
        """Return the names and every node that they are computed from, as far back as the given ones."""
        found = set(names)
        for node in reversed(self.nodes):
            if node.name in found and node.name not in given:
                found.update(node.refs)
        return found
