"""The walk from a class back to the pixels: the heart. It knows no operator, only the kinds of rules."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from effpath.backends.compiled import CompiledWalk, Found, misfit, thread_pool
from effpath.backends.layout import layouts_of
from effpath.backends.operators import prepare
from effpath.backends.plain import PlainWalk
from effpath.errors import NumericalError, OptionError, was_interrupted
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_classes, as_whole
from effpath.kernels.options import Options, make_options
from effpath.kernels.reference import Chosen
from effpath.logits import require_two_classes
from effpath.paths.compact import CompactNeurons, CompactSynapses
from effpath.paths.path import Header, IdRows, Paths, Ragged, join_rows
from effpath.rules.kinds import Choice, Gate, Route, Weighted
from effpath.rules.plan import Plan, plan_for

Backend = Literal["auto", "compiled", "reference"]
RECORDED_BYTES = 384 << 20  # activations that are kept at a time
TOGETHER = 256  # images of small networks


def extract(
    graph: Graph,
    images: Tensor,
    *,
    rank: int = 1,
    classes: Tensor | Sequence[int] | None = None,
    layers: int | str | Sequence[str] | None = None,
    preset: str | Options = "default",
    theta: float | None = None,
    include_auxiliary: bool = False,
    backend: Backend = "auto",
) -> Paths:
    """Return the effective path of each image (Sec. 2.1).

    Args:
        graph: of the network, from `capture`.
        images: float [N, C, H, W], as the network takes them; a NumPy array or a list of images too.
        rank: start at the class with the rank-th highest logit.
        classes: start at these classes instead, [N].
        layers: the last k, the named, or all (None); a partial extraction does no work for the others.
        preset: how contributions are selected: ``"paper"``, ``"authors"``, ``"default"`` or `Options`.
        theta: θ in (0, 1], instead of the preset's 0.5.
        include_auxiliary: keep the synapses of pooling and add too.
        backend: ``"compiled"`` for networks that compute in float32 on a CPU throughout, ``"reference"`` (plain
            torch) for any other; ``"auto"`` sees what the network computes in. From the same activations all
            choose the same sets. Two forward passes may round in the last bit as they like (another batch size,
            processor or device), and then a few synapses in a million differ.

    Memory layout does not matter: images are brought to one before the forward pass.

    Raises:
        InputError: images of another shape or type.
        NumericalError: NaN or infinity, naming the node.
        OptionError: an option outside its range.

    Example:
        >>> import torch, effpath
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
        >>> graph = effpath.capture(net, torch.zeros(1, 1, 2, 2))
        >>> effpath.extract(graph, torch.ones(5, 1, 2, 2))
        Paths(5 images, 1 layers)
    """
    options = make_options(preset, theta=theta)
    images = graph.check_images(images).detach()
    found = []
    parts = torch.split(images, _within_bytes(graph, options, layers))
    starts: list[Tensor | None] = [None] * len(parts)
    if classes is not None:
        given = as_classes(classes, len(images), graph.classes, "class", OptionError)
        starts = [*torch.split(given, [len(part) for part in parts])]
    for part, start in zip(parts, starts, strict=True):
        recorded = _record(graph, part, options, layers, include_auxiliary, backend)
        found.append(recorded.paths(rank=rank, classes=start))
    return Paths.join(found)


def images_together(
    graph: Graph,
    *,
    options: Options,
    layers: int | str | Sequence[str] | None = None,
    batch_size: int | None = None,
) -> int:
    """Return how many images are recorded at a time: ``batch_size``, or as many as fit in `RECORDED_BYTES`.

    Without a batch size it is `TOGETHER` at most and one at least. OptionError for a batch size below 1.
    """
    if batch_size is None:
        return min(TOGETHER, _within_bytes(graph, options, layers))
    if batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, or None for as many as fit in memory; got {batch_size}")
    return batch_size


def _within_bytes(graph: Graph, options: Options, layers: int | str | Sequence[str] | None) -> int:
    """Return the number of images, one at least, whose activations fit in `RECORDED_BYTES`."""
    plan = plan_for(graph, gates=options.gates)
    kept = recorded_names(plan, plan.leading_to(plan.choose_layers(layers)))
    each = sum(graph.size(name) for name in kept) * graph.dtype.itemsize
    return max(1, RECORDED_BYTES // each)


@dataclass(frozen=True, eq=False)
class Recorded:
    """The activations of a batch that walks need; several ranks share one forward pass.

    Attributes:
        plan: the rules of the graph.
        header: options and the layers to keep.
        visited: the nodes that a walk must visit.
        values: recorded tensors by node name, [B, size]: in canonical order for the reference backend, in the
            plan's layouts for the compiled one.
        logits: [B, classes].
        compiled: which backend walks.
    """

    plan: Plan
    header: Header
    visited: frozenset[str]
    values: dict[str, Tensor]
    logits: Tensor
    compiled: bool

    def __len__(self) -> int:
        """Number of images."""
        return len(self.logits)

    def select(self, rows: slice | Tensor) -> Recorded:
        """Return the recording of some of the images: a batch walks exactly as its parts do."""
        values = {name: value[rows].contiguous() for name, value in self.values.items()}
        return replace(self, values=values, logits=self.logits[rows])

    def plainly(self) -> Recorded:
        """Return the same recording for the reference backend."""
        if not self.compiled:
            return self
        layouts = prepare(self.plan).layouts
        values = {name: layouts[name].restore(value) for name, value in self.values.items()}
        return replace(self, values=values, compiled=False)

    def ranked(self, rank: int) -> Tensor:
        """Return the class with the rank-th highest logit of each image, int64 [B]; ties to the lower class."""
        classes = self.logits.shape[1]
        if rank == 2:
            require_two_classes(classes, "a path of rank 2")
        rank = as_whole(rank, "rank", classes, "(the classes)")
        return self.logits.sort(dim=1, descending=True, stable=True).indices[:, rank - 1]

    def start(self, classes: Tensor | Sequence[int]) -> Tensor:
        """Return the mask of one logit an image, bool [B, classes]."""
        count = self.logits.shape[1]
        start = as_classes(classes, len(self), count, "class", OptionError).to(self.logits.device)
        return torch.nn.functional.one_hot(start, count).bool()

    def paths(self, *, rank: int = 1, classes: Tensor | Sequence[int] | None = None) -> Paths:
        """Walk from the rank-th class, or from the given classes [B], back to the pixels."""
        start = self.start(self.ranked(rank) if classes is None else classes)
        walked = walk(self, start)
        return Paths(
            self.header,
            start.int().argmax(1).cpu().numpy(),
            rank if classes is None else 0,
            self.logits.float().cpu().numpy(),
            walked.synapses,
            walked.neurons,
            walked.pixels,
        )


def record(
    graph: Graph,
    images: Tensor,
    *,
    options: Options,
    layers: int | str | Sequence[str] | None = None,
    include_auxiliary: bool = False,
    backend: Backend = "auto",
) -> Recorded:
    """Run the forward pass once and keep what walks over the wanted layers need."""
    return _record(graph, graph.check_images(images).detach(), options, layers, include_auxiliary, backend)


def _record(
    graph: Graph,
    images: Tensor,
    options: Options,
    layers: int | str | Sequence[str] | None,
    include_auxiliary: bool,
    backend: Backend,
) -> Recorded:
    if backend not in ("auto", "compiled", "reference"):
        raise OptionError(f"backend must be 'auto', 'compiled' or 'reference', got {backend!r}")
    plan = plan_for(graph, gates=options.gates)
    wanted = plan.choose_layers(layers)
    visited = plan.leading_to(wanted)
    if include_auxiliary:
        extra = {layer.name for layer in plan.auxiliary if layer.name in visited}
        names = extra | {layer.name for layer in wanted}
        wanted = tuple(layer for layer in plan.every if layer.name in names)
    header = Header.of(graph, options, wanted)
    keep = recorded_names(plan, visited)
    compiled = backend != "reference"
    layouts = prepare(plan).layouts if compiled else layouts_of(plan)
    if not layouts[graph.input].plain and images.dim() == 4:
        images = images.contiguous(memory_format=torch.channels_last)  # the rest of the network follows

    def stored(name: str, value: Tensor, count: int) -> Tensor:
        return (
            layouts[name].store(value if len(value) == count else value.reshape(count, -1))
            if compiled
            else value.reshape(count, -1)
        )

    runs = []
    for part in torch.split(images, len(images) if graph.batched else 1):
        found = graph.run(part, keep)
        if compiled and (unfit := misfit(plan, visited, found)):
            if backend == "compiled":
                raise OptionError(
                    f"the compiled backend takes float32 networks on a CPU, but {unfit}; "
                    "use backend='reference' or 'auto'"
                )
            compiled = False
        runs.append({name: stored(name, value, len(part)) for name, value in found.items()})
    values = runs[0] if len(runs) == 1 else {name: torch.cat([run[name] for run in runs]) for name in keep}
    return Recorded(plan, header, frozenset(visited), values, values[graph.logits], compiled)


def recorded_names(plan: Plan, visited: set[str]) -> set[str]:
    """Return the tensors that a walk over these nodes reads."""
    keep = {plan.graph.logits}
    for name in visited:
        kind = plan.kinds[name]
        if isinstance(kind, (Weighted, Choice)):
            keep.update(kind.sources)
        if isinstance(kind, Weighted) and not kind.pooled:
            keep.add(name)
        if isinstance(kind, Weighted) and kind.factors:
            keep.add(kind.factors)
    return keep


@dataclass(frozen=True, eq=False)
class Walked:
    """What a walk found: synapses and neurons by layer, and pixels (None for a partial extraction)."""

    synapses: dict[str, IdRows]
    neurons: dict[str, IdRows]
    pixels: Ragged | None

    @classmethod
    def join(cls, parts: Sequence[Walked]) -> Walked:
        """Lay what walks over several batches found end to end."""
        joined = {
            name: join_rows([p.synapses[name] for p in parts], [p.neurons[name] for p in parts])
            for name in parts[0].synapses
        }
        pixels = [part.pixels for part in parts if part.pixels is not None]
        return cls(
            {name: rows[0] for name, rows in joined.items()},
            {name: rows[1] for name, rows in joined.items()},
            Ragged.join(pixels) if pixels else None,
        )


Masks = CompiledWalk | PlainWalk


def walk(recorded: Recorded, active: Tensor) -> Walked:
    """Return what the walk from some logits to the pixels chooses.

    Args:
        recorded: activations and rules.
        active: bool [B, classes], where to start.
    """
    walked = by_images(recorded, active, _walk)
    return walked[0] if len(walked) == 1 else Walked.join(walked)


def _walk(recorded: Recorded, active: Tensor, threads: int) -> Walked:
    synapses: dict[str, IdRows] = {}
    neurons: dict[str, IdRows] = {}

    def collect(masks: Masks, name: str, kind: Weighted | Choice) -> None:
        synapses[name], neurons[name] = _sets(masks, name, masks.decide(name, kind), len(recorded))

    masks = visit(recorded, active, collect, threads)
    everywhere = len(recorded.visited) == len(
        recorded.plan.kinds
    )  # else a skip from the input gives a part of them
    pixels = _of_mask(torch.as_tensor(masks.mask(recorded.plan.graph.input))) if everywhere else None
    names = [layer.name for layer in recorded.header.layers]  # forward order
    return Walked({n: synapses[n] for n in names}, {n: neurons[n] for n in names}, pixels)


T = TypeVar("T")


def by_images(recorded: Recorded, active: Tensor, work: Callable[[Recorded, Tensor, int], T]) -> list[T]:
    """Do ``work(recorded, active, threads)`` over the images, in one part for each of torch's threads.

    Images too few for that are one part, whose operators share the threads. Results come in the order of images.
    """
    threads = torch.get_num_threads() if recorded.compiled else 1
    if threads == 1 or len(recorded) < 2 * threads:
        return [work(recorded, active, threads)]
    edges = np.linspace(0, len(recorded), threads + 1).astype(int).tolist()
    rows = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return list(thread_pool(threads).map(lambda part: work(recorded.select(part), active[part], 1), rows))


def visit(
    recorded: Recorded,
    active: Tensor,
    at_layer: Callable[[Masks, str, Weighted | Choice], None],
    threads: int,
) -> Masks:
    """Visit the nodes in reverse, each after all its consumers; a tensor's active set is their union.

    ``at_layer`` is called at each layer to keep, and lets the masks decide there.
    """
    plan, options = recorded.plan, recorded.header.options
    wanted = {layer.name for layer in recorded.header.layers}
    start = (plan, options, recorded.values, active, recorded.visited)
    masks: Masks = CompiledWalk(*start, threads=threads) if recorded.compiled else PlainWalk(*start)
    for name in reversed(plan.kinds):
        if name not in recorded.visited or not (masks.holds(name) or name in wanted):
            continue
        kind = plan.kinds[name]
        if isinstance(kind, (Weighted, Choice)):
            try:
                if name in wanted:
                    at_layer(masks, name, kind)
                else:
                    masks.decide(name, kind, keep=False)
            except NumericalError as error:
                place = plan.graph.by_name[name].place
                message = f"{error}, at {place}; look for the layer before it that overflows"
                raise NumericalError(message) from error
            except SystemError as error:
                if was_interrupted(error):
                    raise KeyboardInterrupt from None
                raise
        else:
            masks.follow(name, _routes(kind, options))
    return masks


def _routes(kind: Route | Gate, options: Options) -> tuple[Route, ...]:
    if isinstance(kind, Route):
        return (kind,)
    return (kind.data, *kind.gates) if options.gates or kind.equal else (kind.data,)


def _sets(masks: Masks, name: str, found: Found | Chosen, images: int) -> tuple[IdRows, IdRows]:
    if isinstance(found, Chosen):
        synapses = Ragged.of(found.image.cpu().numpy(), found.slot.cpu().numpy(), images)
        return synapses, _of_mask(torch.as_tensor(masks.mask(name)))
    starts = np.concatenate([[0], np.cumsum(found.of_image)])
    compact = CompactSynapses(
        found.neurons, found.counts, found.candidates, starts, found.inputs, found.channels, found.positions
    )
    return compact, CompactNeurons(compact)


def _of_mask(mask: Tensor) -> Ragged:
    image, ids = mask.nonzero(as_tuple=True)
    return Ragged.of(image.cpu().numpy(), ids.cpu().numpy(), len(mask))
