"""The one forward pass: what walks need of it, for as many images as memory takes at a time.

`recordings` is the one loop over batches: everything that looks at the paths of many images goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from effpath.backends.compiled import misfit
from effpath.backends.layout import layouts_of
from effpath.backends.prepared import prepare
from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_classes, as_whole, images_together, require_images
from effpath.images import Images
from effpath.kernels.options import Options
from effpath.models.predict import require_two_classes
from effpath.paths.header import Header
from effpath.rules.plan import Plan, plan_for

Backend = Literal["auto", "compiled", "reference"]


def bytes_per_image(graph: Graph, options: Options, layers: int | str | Sequence[str] | None) -> int:
    """Return the bytes of the activations that walks over these layers need of one image."""
    plan = plan_for(graph, gates=options.gates)
    kept = plan.reads(plan.leading_to(plan.choose_layers(layers)))
    return sum(graph.size(name) for name in kept) * graph.dtype.itemsize


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
        """Return the number of images."""
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
        return ranked_classes(self.logits, rank)

    def outputs(self, name: str, ids: Tensor | None = None) -> Tensor:
        """Return what was recorded of a tensor in canonical order, [B, size], or of some elements, [B, ids]."""
        stored = self.values[name]
        if ids is not None:
            ids = ids.to(stored.device)
            return stored[:, prepare(self.plan).layouts[name].table[ids] if self.compiled else ids]
        return prepare(self.plan).layouts[name].restore(stored) if self.compiled else stored

    def start(self, classes: Tensor | Sequence[int]) -> Tensor:
        """Return the mask of one logit an image, bool [B, classes]."""
        count = self.logits.shape[1]
        start = as_classes(classes, len(self), count, "class", OptionError).to(self.logits.device)
        return torch.zeros(self.logits.shape, dtype=torch.bool, device=start.device).scatter_(
            1, start[:, None], True
        )


def ranked_classes(logits: Tensor, rank: int) -> Tensor:
    """Return the class with the rank-th highest of the logits [B, classes], int64 [B]; ties to the lower class."""
    classes = logits.shape[1]
    if rank == 2:
        require_two_classes(classes, "a path of rank 2")
    rank = as_whole(rank, "rank", classes, "(the classes)")
    if rank == 1:
        return logits.max(dim=1).indices  # of several, the first
    return logits.sort(dim=1, descending=True, stable=True).indices[:, rank - 1]


class Batch(NamedTuple):
    """A batch of many images.

    Attributes:
        rows: where it lies among all images.
        pixels: [B, C, H, W], checked.
        recorded: their activations.
    """

    rows: slice
    pixels: Tensor
    recorded: Recorded


def recordings(
    graph: Graph,
    images: Images,
    *,
    options: Options,
    layers: int | str | Sequence[str] | None = None,
    include_auxiliary: bool = False,
    backend: Backend = "auto",
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Batch]:
    """Record images batch by batch, as many at a time as memory takes.

    Args:
        graph: of the network.
        images: [N, C, H, W], which may be read when indexed.
        options, layers, include_auxiliary, backend: as in `record`.
        batch_size: images together; None for 256, or as many as have 384 MiB of activations.
        progress: called with (images done, images in all) whenever the work on a batch is done.

    Raises:
        InputError, NumericalError: bad images; none give no batch.
        OptionError: a batch of less than one image, or an option outside its range.
    """
    size = images_together(bytes_per_image(graph, options, layers), batch_size)
    for rows, pixels in checked_batches(graph, images, size, progress):
        recorded = record(
            graph, pixels, options=options, layers=layers, include_auxiliary=include_auxiliary, backend=backend
        )
        yield Batch(rows, pixels, recorded)


def checked_batches(
    graph: Graph, images: Images, size: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Read and check images, so many at a time; as `recordings`."""
    require_images(images)
    for start in range(0, len(images), size):
        rows = slice(start, min(start + size, len(images)))
        yield rows, graph.check_images(images[rows], first=start)
        if progress is not None:
            progress(rows.stop, len(images))


def record(
    graph: Graph,
    images: Tensor,
    *,
    options: Options,
    layers: int | str | Sequence[str] | None = None,
    include_auxiliary: bool = False,
    backend: Backend = "auto",
) -> Recorded:
    """Run the forward pass once, on the graph's device, and keep what walks over the chosen layers need.

    Compiled kernels walk on the CPU: what they need is brought there from another device.

    Args:
        graph: of the network.
        images: float [B, C, H, W], all recorded together.
        options: of the selection.
        layers, include_auxiliary, backend: as in `extract`.

    Raises:
        InputError, NumericalError: bad images.
        OptionError: an option outside its range.
    """
    images = graph.check_images(images).detach()
    if backend not in ("auto", "compiled", "reference"):
        raise OptionError(f"backend must be 'auto', 'compiled' or 'reference', got {backend!r}")
    walked = graph.on_cpu if backend != "reference" and graph.dtype == torch.float32 else graph
    plan = plan_for(walked, gates=options.gates)
    kept = plan.choose_layers(layers)
    visited = plan.leading_to(kept)
    if include_auxiliary:
        extra = {layer.name for layer in plan.auxiliary if layer.name in visited}
        names = extra | {layer.name for layer in kept}
        kept = tuple(layer for layer in plan.every if layer.name in names)
    header = Header.of(graph, options, kept)
    keep = plan.reads(visited)
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
        found = {name: value.to(walked.device) for name, value in graph.run(part, keep).items()}
        if compiled and (unfit := misfit(plan, visited, found)):
            if backend == "compiled":
                raise OptionError(
                    f"the compiled backend takes networks that compute in float32 throughout, but {unfit}; "
                    "use backend='reference' or 'auto'"
                )
            compiled = False
        runs.append({name: stored(name, value, len(part)) for name, value in found.items()})
    values = runs[0] if len(runs) == 1 else {name: torch.cat([run[name] for run in runs]) for name in keep}
    return Recorded(plan, header, frozenset(visited), values, values[graph.logits], compiled)
