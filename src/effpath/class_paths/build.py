"""Building class paths over a labelled data set, in memory; a store is built by `effpath.class_paths.folder`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effpath.class_paths.class_paths import ClassPaths, Counted, Digests, Shard, digests_of
from effpath.class_paths.fused import Unions
from effpath.class_paths.memory import Budget, budget_of
from effpath.class_paths.tally import Counts, Tally
from effpath.errors import ClassPathError, InputError, OptionError
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_classes, as_integers, require_images
from effpath.images import Images, labelled
from effpath.kernels.options import Options, make_options
from effpath.models.predict import require_two_classes
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.rules.plan import LEVELS, Level, plan_for
from effpath.walk.recording import Recorded, recordings
from effpath.walk.visit import paths_of

DENSE_BYTES = 1 << 30  # use one counter per id while all of them together take less than this
DENSE_IDS = 1 << 16  # and while there are fewer for each image: all are gone through in the end


@dataclass(frozen=True)
class BuildOptions:
    """What class paths keep, and how they are built.

    Attributes:
        levels: the sets to keep: synapses, neurons, weights.
        counts: keep how many images used each element (for likelihoods, frequency thresholds and leave-one-out).
        batch_size: images extracted together; None for as many as fit in memory.
        allow_missing: leave out a class of which no image is predicted correctly, instead of an error.
        memory: bytes that each process that builds may take; fewer images are then extracted together, and fewer
            classes are open at a time. None for no bound.
    """

    levels: Sequence[Level] = LEVELS
    counts: bool = True
    batch_size: int | None = None
    allow_missing: bool = False
    memory: int | None = None


@dataclass(frozen=True, eq=False)
class Description:
    """What the images of class paths are, stored with them.

    Attributes:
        names: of the classes, in the order of the network's outputs.
        data: the images in words.
        origin: a name of the data set, by its content.
        rows: int [N], where each image stands in the data set. Class paths that have an image in common do not
            merge; only rows tell an image from another one of the same pixels.
    """

    names: Sequence[str] = ()
    data: str = ""
    origin: str = ""
    rows: Sequence[int] | Tensor | None = None


@dataclass(frozen=True, eq=False)
class Work:
    """Labelled images of a network, checked, and what is to be kept of their paths.

    Attributes:
        graph: of the network.
        images: [N, C, H, W], in memory or read when indexed.
        labels: int64 [N], outputs of the network.
        empty: class paths of none of the images: header, levels, names and data.
        options: what is kept, and how.
        origin, rows: see `Description`; rows is empty where they are not known.
        names: of the images, for messages; may be empty.
    """

    graph: Graph
    images: Images
    labels: Tensor
    empty: ClassPaths
    options: BuildOptions
    origin: str
    rows: NDArray[np.int64]
    names: Sequence[str] = ()

    @property
    def selection(self) -> Options:
        """The options of the paths."""
        return self.empty.header.options

    @property
    def layers(self) -> list[str] | None:
        """Names of the layers that are kept; None where the network has none."""
        return [layer.name for layer in self.empty.header.layers] or None


def prepare(
    graph: Graph,
    images: Images | Dataset[Any] | DataLoader[Any],
    labels: Tensor | Sequence[int] | None,
    *,
    preset: str | Options = "default",
    theta: float | None = None,
    layers: int | str | Sequence[str] | None = None,
    options: BuildOptions | None = None,
    description: Description | None = None,
) -> Work:
    """Return what class paths are built from, checked; arguments and errors as in `build_class_paths`."""
    options = options or BuildOptions()
    description = description or Description()
    images, labels = labelled(images, labels)
    require_images(images)
    require_two_classes(graph.classes, "the class path of right predictions")
    target = as_classes(labels, len(images), graph.classes)
    if not len(target):
        raise InputError("expected images of each class, got none")
    rows = np.empty(0, np.int64)
    if description.rows is not None:
        rows = as_integers(description.rows, len(images), "row").numpy()
    selection = make_options(preset, theta=theta)
    levels = tuple(level for level in LEVELS if level in options.levels)
    if not levels or not set(options.levels) <= set(LEVELS):
        raise OptionError(f"levels must be some of {LEVELS}, got {tuple(options.levels)}")
    header = Header.of(graph, selection, plan_for(graph, gates=selection.gates).choose_layers(layers))
    empty = ClassPaths(header, levels, {}, names=tuple(description.names), data=description.data)
    origin = description.origin if len(rows) else ""
    return Work(graph, images, target, empty, options, origin, rows)


def build_class_paths(
    graph: Graph,
    images: Images | Dataset[Any] | DataLoader[Any],
    labels: Tensor | Sequence[int] | None = None,
    *,
    preset: str | Options = "default",
    theta: float | None = None,
    layers: int | str | Sequence[str] | None = None,
    options: BuildOptions | None = None,
    description: Description | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ClassPaths:
    """Return the class path of each class: the union over its correctly predicted images (Sec. 2.2).

    Args:
        graph: of the network.
        images: float [N, C, H, W]: a tensor, an array, a list of images, or what is read when it is indexed; or
            (image, label) pairs in torch's map-style ``Dataset`` or ``DataLoader``, read by index, batch by batch
            (see `effpath.images.labelled`).
        labels: int [N], the network's outputs; no floats and no names. A data set brings its own.
        preset, theta, layers: as in `extract`.
        options: what is kept, and how; None for all levels with their use counts.
        description: what the images are, stored with the result.
        progress: called with (images done, images in all).

    Raises:
        ClassPathError: a class has images but none is predicted correctly.
        InputError, NumericalError, OptionError: bad images, labels or options.
    """
    work = prepare(
        graph,
        images,
        labels,
        preset=preset,
        theta=theta,
        layers=layers,
        options=options,
        description=description,
    )
    budget = budget_of(work, len(np.unique(work.labels.numpy())))
    builder = Builder(work.empty, work.options.counts, graph.classes, len(work.labels), budget)
    digests: list[Digests] = []
    for batch in recordings(
        graph,
        work.images,
        options=work.selection,
        layers=work.layers,
        batch_size=budget.together if budget else work.options.batch_size,
        progress=progress,
    ):
        here = work.labels[batch.rows]
        builder.add(batch.recorded, here)
        digests.append(digests_of(batch.pixels, here))
    shard = Shard(np.concatenate(digests), work.origin, work.rows)
    result = replace(builder.result(), seen=len(work.labels), shards=(shard,))
    if not work.options.allow_missing:
        check_missing(result, work.labels)
    return result


def check_missing(class_paths: ClassPaths, labels: Tensor) -> None:
    """Raise ClassPathError where a class has images but no path."""
    missing = sorted(set(labels.tolist()) - set(class_paths))
    if not missing:
        return
    names = class_paths.names
    wrong = ", ".join(f"{names[c]} ({c})" if c < len(names) else str(c) for c in missing)
    raise ClassPathError(
        f"no image of class {wrong} is predicted correctly, so it has no class path; check that labels "
        "and preprocessing fit the model, give more images, or leave the class out (allow_missing=True, "
        "--allow-missing)"
    )


class Builder:
    """The class paths so far: use counts of all classes, levels and sets, or unions of them."""

    def __init__(
        self, empty: ClassPaths, counts: bool, classes: int, images: int, budget: Budget | None = None
    ) -> None:
        """Start with no image; so many may come, of at most so many classes; a budget has to be kept."""
        self.empty, self.counts, self.budget = empty, counts, budget
        header = empty.header
        sizes = {(level, key): header.universe(level, key) for level in empty.levels for key in header.keys(level)}
        counters = classes * sum(sizes.values())
        dense = 4 * counters <= min(DENSE_BYTES, budget.room if budget else DENSE_BYTES)
        dense = dense and counters <= DENSE_IDS * images
        self.tallies: defaultdict[int, dict[tuple[Level, str], Tally]] = defaultdict(
            lambda: {at: Tally(size, dense=dense) for at, size in sizes.items()}
        )
        self.unions = Unions(header, budget.room if budget else None)
        self.images: Counter[int] = Counter()  # correctly predicted, by class

    def add(self, recorded: Recorded, labels: Tensor) -> NDArray[np.bool_]:
        """Count or unite the paths of the images that are predicted correctly; return which those are.

        Raises:
            OptionError: the process takes more memory than the budget has.
        """
        correct = recorded.ranked(1).cpu() == labels
        found: NDArray[np.bool_] = correct.numpy()
        if not found.any():
            return found
        recorded = recorded if found.all() else recorded.select(correct)
        right: NDArray[np.int64] = labels[correct].numpy()
        self.images.update(right.tolist())
        if not self.counts:
            self.unions.add(recorded, right.tolist())
        else:
            paths = paths_of(recorded)
            for label in np.unique(right).tolist():
                rows = np.flatnonzero(right == label)
                for (level, key), tally in self.tallies[label].items():
                    tally.add(paths.ragged(level)[key].take(rows))
        if self.budget is not None:
            self.budget.check()
        return found

    def result(self) -> ClassPaths:
        """Return the class paths so far."""
        levels = self.empty.levels
        paths = {} if self.counts else self.unions.paths(levels, self.images)
        counts: dict[int, Counted] = {}
        for label, tallies in sorted(self.tallies.items()):
            counted: dict[Level, dict[str, Counts]] = {level: {} for level in levels}
            sets: dict[Level, dict[str, IdSet]] = {level: {} for level in levels}
            for (level, key), tally in tallies.items():
                ids, counted[level][key] = tally.result()
                sets[level][key] = IdSet.from_sorted(ids, size=tally.size)
            paths[label] = Path(self.empty.header, sets, self.images[label])
            counts[label] = counted
        return replace(self.empty, paths=paths, counts=counts)
