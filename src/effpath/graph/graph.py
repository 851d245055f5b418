"""A small frozen graph of functional nodes: the network, independent of `torch.export`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from effpath.errors import InputError, NumericalError
from effpath.files.cache import fingerprint
from effpath.graph.in_place import overwrite, overwritten_by
from effpath.graph.inputs import as_images, images_together, plain_memory, require_images
from effpath.graph.node import Node
from effpath.graph.precision import FullFloat32
from effpath.graph.sliding_mean import sliding_mean, sliding_means
from effpath.images import Images
from effpath.kernels.window import Scalars

SHAPE_ONLY = (  # operators that look at the shape of what they read, never at its values
    "sym_size", "new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like",
    "empty_like",
)  # fmt: skip

Forward = Callable[[Tensor], Tensor]


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
        batched: False where images are run one by one: the network cannot be exported with a dynamic batch, or
            some node does not treat each image of a batch as it would alone.
        parameters: for a constant that a rewrite made, the name of the parameter it stands for.
        fingerprint: sha256 over structure and parameters, as the user gave them.
        trained: names of the constants that are parameters of the model, not buffers.
        made: for a constant that was computed from others, the node that computed it.
        scalars: for a constant whose elements are a parameter's in another order, or some of them, which.
        structure: what `effpath.graph.structure` wrote of it, to capture the same network again at once; None
            where text cannot hold it.
        plans: what the rules made of this graph, by whether gates are followed; see `effpath.rules.plan_for`.

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
        """Describe the network in one line."""
        return (
            f"Graph({len(self.nodes)} nodes, input {self.input_shape} of {self.dtype}, {self.classes} classes, "
            f"fingerprint {self.fingerprint[:12]})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields for pickling, without the plans, which are made again."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take the fields back."""
        self.__dict__.update(state, plans={})

    @cached_property
    def architecture(self) -> str:
        """Fingerprint of the network apart from its weights."""
        nodes = [
            (
                node.name,
                node.op,
                [(k, repr(arg)) for k, arg in node.args.items() if not _is_device(arg)],
                node.shape,
            )
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
    def overwritten(self) -> dict[str, str]:
        """By node, the operand that it may overwrite where nobody asks for the operand; see `overwritten_by`."""
        return overwritten_by(self)

    @cached_property
    def sliding(self) -> frozenset[str]:
        """Nodes that are computed by `sliding_mean`."""
        return sliding_means(self.nodes)

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

    @cached_property
    def on_cpu(self) -> Graph:
        """Return the graph with its constants on the CPU; itself where they are there."""
        return self.to("cpu")

    def to(self, device: torch.device | str) -> Graph:
        """Return the graph with its constants, and all that its nodes make, on a device; itself if they are."""
        device = torch.device(device)
        if self.device == device:
            return self
        nodes = tuple(
            replace(
                node,
                args={key: device if _is_device(arg) else arg for key, arg in node.args.items()},
            )
            for node in self.nodes
        )
        constants = {name: tensor.to(device) for name, tensor in self.constants.items()}
        return replace(self, nodes=nodes, constants=constants)

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.shape(self.logits)[-1]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a node's result, or of the input, for a batch of one."""
        return (1, *self.input_shape) if name == self.input else self.by_name[name].shape

    def size(self, name: str) -> int:
        """Return the number of elements of a node's result, or of the input, per image."""
        return prod(self.shape(name))

    def __call__(self, images: Any, *, forward: Forward | None = None) -> Tensor:
        """Return the logits of images, [N, classes], without gradients.

        Args:
            images: [N, C, H, W]; checked by `check_images`, and run together (one by one where the graph is not
                ``batched``). `predict` takes more images than fit in memory.
            forward: gives the logits of checked images instead; `effpath.Masked` has its own.
        """
        return self._logits_of(self.check_images(images), forward)

    def _logits_of(self, images: Tensor, forward: Forward | None) -> Tensor:
        parts = torch.split(images, len(images) if self.batched else 1)
        return torch.cat([forward(part) if forward else self.run(part)[self.logits] for part in parts])

    def predict(self, images: Images, batch_size: int | None = None, *, forward: Forward | None = None) -> Tensor:
        """Return the class with the highest logit of each image, int64 [N] on the CPU; of several, the lowest.

        Args:
            images: a tensor or array [N, C, H, W], or images that are read as they are indexed.
            batch_size: images per forward pass; None for as many, up to 256, as have 384 MiB of activations.
            forward: as in a call.

        Raises:
            InputError: images of another shape or type.
            NumericalError: NaN or infinity in the images or in their logits.
            OptionError: a batch size below 1.

        Example:
            >>> import torch, effpath
            >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
            >>> images = torch.rand(5, 1, 2, 2)
            >>> effpath.capture(model, images).predict(images).equal(model(images).argmax(1))
            True
        """
        require_images(images)
        size = images_together(self.activation_bytes, batch_size)
        found = []
        for start in range(0, len(images), size):
            logits = self._logits_of(self.check_images(images[start : start + size], first=start), forward)
            finite = logits.isfinite().all(1)
            if not bool(finite.all()):
                row = start + int((~finite).nonzero()[0])
                raise NumericalError(
                    f"expected finite logits, got NaN or infinity for image {row}; look for a layer that overflows"
                )
            found.append(logits.argmax(1).cpu())
        return torch.cat(found) if found else torch.empty(0, dtype=torch.int64)

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of the activations of one image, all nodes together."""
        return self.dtype.itemsize * sum(map(self.size, self.live))

    @cached_property
    def largest_bytes(self) -> int:
        """Bytes of the largest activation of one image."""
        return self.dtype.itemsize * max(map(self.size, self.live))

    def check_images(self, images: Any, *, first: int = 0) -> Tensor:
        """Return images on the graph's device, in its dtype and in plain memory, or say what is wrong with them.

        A NumPy array, or a list of arrays or tensors of one shape, is accepted too.

        Args:
            images: [N, C, H, W].
            first: which of all images the first of these is, for messages.

        Raises:
            InputError: another shape or type, or no image at all.
            NumericalError: NaN or infinity in an image.
        """
        expected = f"images of shape (N, {', '.join(map(str, self.input_shape))})"
        images = as_images(images, expected)
        if images.dim() != len(self.input_shape) + 1 or tuple(images.shape[1:]) != self.input_shape:
            hint = (
                "add a batch dimension: images[None]"
                if tuple(images.shape) == self.input_shape
                else ("resize them, or capture the model with an example of this shape")
            )
            raise InputError(f"expected {expected}, got {tuple(images.shape)}; {hint}")
        if not len(images):
            raise InputError(f"expected {expected}, got none")
        if not images.is_floating_point():
            raise InputError(f"expected float {expected}, got {images.dtype}; convert: images.float() / 255")
        if not torch.isfinite(images).all():
            bad = (~torch.isfinite(images)).flatten(1).any(1).nonzero()[:8, 0] + first
            raise NumericalError(f"NaN or infinity in the images at index {bad.tolist()}; drop or repair them")
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

        Values that no later node reads are freed on the way.

        Args:
            images: [N, C, H, W], as `check_images` returns them.
            keep: names of nodes, or of the input.
            given: values of nodes from an earlier run; nodes that only these depend on are not computed.
            change: called with the name and the value of each node, computed or given; returns the value that the
                network continues with. Gradients flow through the nodes only with it.
        """
        with torch.set_grad_enabled(change is not None and torch.is_grad_enabled()), FullFloat32():
            return self._run(images, set(keep) or {self.logits}, given or {}, change)

    def _run(
        self,
        images: Tensor,
        wanted: set[str],
        given: Mapping[str, Any],
        change: Callable[[str, Any], Any] | None,
    ) -> dict[str, Tensor]:
        needed = self.upstream(wanted, given)
        nodes = [node for node in self.nodes if node.name in needed and node.name not in given]
        readers: dict[str, int] = {}
        for node in nodes:
            for name in node.refs:
                readers[name] = readers.get(name, 0) + 1
        values: dict[str, Any] = {self.input: images, **{n: v for n, v in given.items() if n in needed}}
        if change is not None:
            values |= {name: change(name, value) for name, value in values.items() if name in given}

        def lookup(name: str) -> Any:
            return self.constants[name] if name in self.constants else values[name]

        for node in nodes:
            operand = self.overwritten.get(node.name)
            if change is not None:
                values[node.name] = change(node.name, node.call(lookup))
            elif node.name in self.sliding:
                values[node.name] = sliding_mean(node, lookup)
            elif operand is None or operand in wanted or operand in given:
                values[node.name] = node.call(lookup)
            else:
                values[node.name] = overwrite(node, operand, lookup)
            for name in node.refs:
                readers[name] -= 1
                if not readers[name] and name in values and name not in wanted:
                    del values[name]
        return {name: values[name] for name in wanted}

    def upstream(self, names: Iterable[str], given: Collection[str] = ()) -> set[str]:
        """Return the names and all that they are computed from, as far back as the given ones."""
        found = set(names)
        for node in reversed(self.nodes):
            if node.name in found and node.name not in given:
                found.update(node.refs)
        return found


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device)
