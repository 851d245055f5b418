"""Building class paths over a labelled data set, batch by batch, resumable."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effpath.class_paths.class_paths import ClassPaths, Counted, Digests, Shard, digests_of
from effpath.class_paths.fused import Unions
from effpath.class_paths.store import load_class_paths, save_class_paths
from effpath.class_paths.tally import Counts, Tally
from effpath.errors import ClassPathError, InputError, OptionError, StoreError
from effpath.files.cache import note_step
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
CHECKPOINT_SECONDS = 60.0
READ_TOGETHER = 64  # images of a checkpoint that are read again
INSTEAD = "delete it to start again, or name another file"


@dataclass(frozen=True)
class BuildOptions:
    """What class paths keep, and how they are built.

    Attributes:
        levels: the sets to keep: synapses, neurons, weights.
        counts: keep how many images used each element (for likelihoods, frequency thresholds and leave-one-out).
        batch_size: images extracted together; None for as many as fit in memory.
        allow_missing: leave out a class of which no image is predicted correctly, instead of an error.
    """

    levels: Sequence[Level] = LEVELS
    counts: bool = True
    batch_size: int | None = None
    allow_missing: bool = False


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
    checkpoint: str | FilePath | None = None,
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
        checkpoint: a file that the work so far is written to about once a minute; where it exists and was
            made by the same call, the work resumes from there. The images behind it are read again, because their
            pixels and labels must be the same.
        progress: called with (images done, images in all).

    Raises:
        ClassPathError: a class has images but none is predicted correctly; the checkpoint keeps the work.
        InputError, NumericalError, OptionError: bad images, labels or options.
        FingerprintError: the checkpoint belongs to another network.
        StoreError: the checkpoint belongs to another run, or cannot be written.
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
    counts, total = work.options.counts, len(work.images)
    builder = Builder(work.empty, counts, graph.classes)
    digests: list[Digests] = [np.empty(0, np.uint64)]
    seen = 0
    file = None if checkpoint is None else FilePath(checkpoint)
    if file is not None and file.exists():
        before = load_class_paths(file, graph)
        _check_same_work(before, work.empty, counts, file)
        _check_same_images(before, file, graph, work.images, work.labels)
        builder.put(before)
        digests, seen = [shard.digests for shard in before.shards], before.seen
        note_step(file)

    def so_far() -> ClassPaths:
        shard = Shard(np.concatenate(digests), work.origin, work.rows[:seen])
        return replace(builder.result(), seen=seen, shards=(shard,))

    written = time.monotonic()
    for batch in recordings(
        graph,
        work.images,
        options=work.selection,
        layers=work.layers,
        batch_size=work.options.batch_size,
        first=seen,
    ):
        here = work.labels[batch.rows]
        builder.add(batch.recorded, here)
        digests.append(digests_of(batch.pixels, here))
        seen = batch.rows.stop
        if progress is not None:  # before the checkpoint: what breaks off here has not been kept
            progress(seen, total)
        if file is not None and time.monotonic() - written > CHECKPOINT_SECONDS:
            save_class_paths(so_far(), file)
            note_step(file)
            written = time.monotonic()
    result = so_far()
    if file is not None:
        save_class_paths(result, file)
        note_step(file)
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


def _check_same_work(before: ClassPaths, here: ClassPaths, counts: bool, file: FilePath) -> None:
    """Raise OptionError or StoreError unless a checkpoint is of the same options, levels and data."""
    try:
        here.header.check_same(before.header)
    except OptionError as error:
        raise OptionError(f"the checkpoint {file} belongs to another run: {error}; {INSTEAD}") from error
    counted = bool(before.counts) if before.paths else counts
    if (before.levels, before.data, counted) != (here.levels, here.data, counts):
        raise StoreError(
            f"the checkpoint {file} belongs to another run: levels {before.levels}, data {before.data!r}, "
            f"{'with' if counted else 'without'} counts; here levels {here.levels}, data {here.data!r}, "
            f"{'with' if counts else 'without'}; {INSTEAD}"
        )


def _check_same_images(before: ClassPaths, file: FilePath, graph: Graph, images: Images, labels: Tensor) -> None:
    """Raise StoreError unless a checkpoint was made from the first of these images, with these labels."""
    other = f"the checkpoint {file} belongs to another run"
    known = np.concatenate([np.empty(0, np.uint64), *(shard.digests for shard in before.shards)])
    if len(known) != before.seen:
        raise StoreError(
            f"the checkpoint {file}, of an earlier version, does not say which images it was made from: {INSTEAD}"
        )
    if before.seen > len(images):
        raise StoreError(f"{other}: it was made from {before.seen} images, here are {len(images)}; {INSTEAD}")
    for start in range(0, before.seen, READ_TOGETHER):
        batch = slice(start, min(start + READ_TOGETHER, before.seen))
        found = digests_of(graph.check_images(images[batch]), labels[batch])
        if not np.array_equal(found, known[batch]):
            row = start + int((found != known[batch]).argmax())
            raise StoreError(f"{other}: image {row} had other pixels or another label there; {INSTEAD}")


class Builder:
    """The class paths so far: use counts of all classes, levels and sets, or unions of them."""

    def __init__(self, empty: ClassPaths, counts: bool, classes: int) -> None:
        """Start with no image, of at most so many classes."""
        self.empty, self.counts = empty, counts
        header = empty.header
        sizes = {(level, key): header.universe(level, key) for level in empty.levels for key in header.keys(level)}
        dense = 4 * classes * sum(sizes.values()) <= DENSE_BYTES
        self.tallies: defaultdict[int, dict[tuple[Level, str], Tally]] = defaultdict(
            lambda: {at: Tally(size, dense=dense) for at, size in sizes.items()}
        )
        self.unions = Unions(header)
        self.images: Counter[int] = Counter()  # correctly predicted, by class

    def add(self, recorded: Recorded, labels: Tensor) -> NDArray[np.bool_]:
        """Count or unite the paths of the images that are predicted correctly; return which those are."""
        correct = recorded.ranked(1).cpu() == labels
        found: NDArray[np.bool_] = correct.numpy()
        if not found.any():
            return found
        recorded = recorded if found.all() else recorded.select(correct)
        right: NDArray[np.int64] = labels[correct].numpy()
        self.images.update(right.tolist())
        if not self.counts:
            self.unions.add(recorded, right.tolist())
            return found
        paths = paths_of(recorded)
        for label in np.unique(right).tolist():
            rows = np.flatnonzero(right == label)
            for (level, key), tally in self.tallies[label].items():
                tally.add(paths.ragged(level)[key].take(rows))
        return found

    def put(self, before: ClassPaths) -> None:
        """Go on from class paths of the same work on the first of the same images."""
        for label, path in before.paths.items():
            self.images[label] = path.images
            if not self.counts:
                self.unions.put(label, path)
                continue
            for (level, key), tally in self.tallies[label].items():
                tally.add(path.sets(level)[key].ids, before.counts[label][level][key])

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
