"""Building class paths over a labelled data set, batch by batch, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effpath.class_paths.class_paths import ClassPaths, Counted
from effpath.class_paths.shares import Digests, Share, digests_of
from effpath.class_paths.store import load_class_paths, save_class_paths
from effpath.class_paths.tally import Counts, Tally
from effpath.class_paths.unions import Unions
from effpath.errors import ClassPathError, InputError, OptionError, StoreError
from effpath.files.cache import note_step
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_classes, as_integers, require_images
from effpath.images import Images, labelled
from effpath.kernels.options import Options, make_options
from effpath.models.logits import require_two_classes
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.rules.plan import LEVELS, Level, plan_for
from effpath.walk.recording import Recorded, recordings
from effpath.walk.visit import paths_of

Progress = Callable[[int, int], None]
DENSE_BYTES = 1 << 30  # use one counter an id while all of them together take less than this
CHECKPOINT_SECONDS = 60.0
READ_TOGETHER = 64  # images of a checkpoint that are read again


def build_class_paths(
    graph: Graph,
    images: Images | Dataset[Any] | DataLoader[Any],
    labels: Tensor | Sequence[int] | None = None,
    *,
    preset: str | Options = "default",
    theta: float | None = None,
    layers: int | str | Sequence[str] | None = None,
    levels: Sequence[Level] = LEVELS,
    counts: bool = True,
    batch_size: int | None = None,
    names: Sequence[str] = (),
    data: str = "",
    origin: str = "",
    rows: Sequence[int] | Tensor | None = None,
    checkpoint: str | FilePath | None = None,
    allow_missing: bool = False,
    progress: Progress | None = None,
) -> ClassPaths:
    """Return the class path of each class: the union over its correctly predicted images (Sec. 2.2).

    Args:
        graph: of the network.
        images: float [N, C, H, W]: a tensor, an array, a list of images, or what is read when it is indexed; or
            (image, label) pairs in torch's map-style ``Dataset`` or ``DataLoader``, read by index, batch by batch
            (see `effpath.images.labelled`).
        labels: int [N], the network's outputs; no floats and no names. A data set brings its own.
        preset, theta, layers: as in `extract`.
        levels: the sets to keep: synapses, neurons, weights.
        counts: keep how many images used each element (for frequency thresholds and leave-one-out).
        batch_size: images extracted together, see `recordings`.
        names: of the classes, stored with the result.
        data: a description of the images, stored with the result.
        origin, rows: a name of the data set, by its content, and where each image stands in it. Class paths that
            have an image in common do not merge; only rows tell an image from another one of the same pixels.
        checkpoint: a file that the work so far is written to about once a minute; where it exists and was
            made by the same call, the work goes on from there. Images that it was made from are read again, as
            their pixels and labels must be the same.
        allow_missing: leave out a class of which no image is predicted correctly, instead of an error.
        progress: called with (images done, images in all).

    Raises:
        ClassPathError: a class has images but none is predicted correctly; the checkpoint keeps the work.
        InputError, NumericalError, OptionError: bad images, labels or options.
        FingerprintError: the checkpoint belongs to another network.
        StoreError: the checkpoint belongs to another run, or cannot be written.
    """
    images, labels = labelled(images, labels)
    require_images(images)
    require_two_classes(graph.classes, "the class path of right predictions")
    target = as_classes(labels, len(images), graph.classes)
    if not len(target):
        raise InputError("expected images of each class, got none")
    places = None if rows is None else as_integers(rows, len(images), "row").numpy()
    options = make_options(preset, theta=theta)
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or not levels:
        raise OptionError(f"levels must be some of {LEVELS}, got {tuple(levels)}")
    chosen = plan_for(graph, gates=options.gates).choose_layers(layers)
    header = Header.of(graph, options, chosen)
    builder = _Builder(header, tuple(level for level in LEVELS if level in levels), counts, graph.classes)
    builder.names, builder.data = tuple(names), data
    builder.origin, builder.rows = (origin, places) if places is not None else ("", np.empty(0, np.int64))
    if checkpoint is not None and FilePath(checkpoint).exists():
        before = load_class_paths(checkpoint, graph)
        builder.resume(before, str(checkpoint))
        _check_images(before, str(checkpoint), graph, images, target)
        note_step(FilePath(checkpoint))
    written = time.monotonic()
    for batch, pixels, recorded in recordings(
        graph, images, options=options, layers=layers, batch_size=batch_size, first=builder.seen
    ):
        correct = recorded.ranked(1).cpu() == target[batch]
        if bool(correct.any()):
            builder.add(recorded if bool(correct.all()) else recorded.select(correct), target[batch][correct])
        builder.look_at(digests_of(pixels, target[batch]))
        if progress is not None:  # before the checkpoint: what breaks off here has not been kept
            progress(builder.seen, len(images))
        if checkpoint is not None and time.monotonic() - written > CHECKPOINT_SECONDS:
            save_class_paths(builder.result(), checkpoint)
            note_step(FilePath(checkpoint))
            written = time.monotonic()
    result = builder.result()
    if checkpoint is not None:
        save_class_paths(result, checkpoint)
        note_step(FilePath(checkpoint))
    missing = sorted(set(target.tolist()) - set(result.paths))
    if missing and not allow_missing:
        wrong = ", ".join(f"{names[c]} ({c})" if c < len(names) else str(c) for c in missing)
        raise ClassPathError(
            f"no image of class {wrong} is predicted correctly, so it has no class path; check that labels "
            "and preprocessing fit the model, give more images, or leave the class out (allow_missing=True, "
            "--allow-missing)"
        )
    return result


def _check_images(before: ClassPaths, file: str, graph: Graph, images: Images, labels: Tensor) -> None:
    """Raise StoreError unless a checkpoint was made from the first of these images, with these labels."""
    other = f"the checkpoint {file} belongs to another run"
    instead = "delete it to start again, or name another file"
    known = np.concatenate([np.empty(0, np.uint64), *(share.digests for share in before.shares)])
    if len(known) != before.seen:
        raise StoreError(
            f"the checkpoint {file}, of an earlier version, does not say which images it was made from: {instead}"
        )
    if before.seen > len(images):
        raise StoreError(f"{other}: it was made from {before.seen} images, here are {len(images)}; {instead}")
    for start in range(0, before.seen, READ_TOGETHER):
        batch = slice(start, min(start + READ_TOGETHER, before.seen))
        found = digests_of(graph.check_images(images[batch]), labels[batch])
        if not np.array_equal(found, known[batch]):
            row = start + int((found != known[batch]).argmax())
            raise StoreError(f"{other}: image {row} had other pixels or another label there; {instead}")


class _Builder:
    """The class paths so far: use counts of all classes, levels and sets, or unions of them."""

    def __init__(self, header: Header, levels: tuple[Level, ...], counts: bool, classes: int) -> None:
        self.header, self.levels, self.counts = header, levels, counts
        self.seen, self.names, self.data = 0, (), ""  # type: tuple[int, tuple[str, ...], str]
        self.origin = ""
        self.rows: NDArray[np.int64] = np.empty(0, np.int64)
        self.digests: list[Digests] = []
        sizes = {(level, key): header.universe(level, key) for level in levels for key in header.keys(level)}
        self.sizes = sizes
        self.dense = 4 * classes * sum(sizes.values()) <= DENSE_BYTES
        self.tallies: dict[int, dict[tuple[Level, str], Tally]] = {}
        self.unions = Unions(header)
        self.images: dict[int, int] = {}

    def _tallies(self, label: int) -> dict[tuple[Level, str], Tally]:
        if label not in self.tallies:
            self.tallies[label] = {at: Tally(size, dense=self.dense) for at, size in self.sizes.items()}
        return self.tallies[label]

    def add(self, recorded: Recorded, labels: Tensor) -> None:
        """Count or unite the paths of correctly predicted images."""
        for label, images in zip(*np.unique(labels.numpy(), return_counts=True), strict=True):
            self.images[int(label)] = self.images.get(int(label), 0) + int(images)
        if not self.counts:
            self.unions.add(recorded, labels.tolist())
            return
        paths = paths_of(recorded)
        for label in sorted(set(labels.tolist())):
            rows = np.flatnonzero(labels.numpy() == label)
            for (level, key), tally in self._tallies(label).items():
                tally.add(paths.ragged(level)[key].take(rows))

    def look_at(self, digests: Digests) -> None:
        """Note the images of a batch, correctly predicted or not."""
        self.digests.append(digests)
        self.seen += len(digests)

    def resume(self, before: ClassPaths, file: str) -> None:
        """Go on from a checkpoint of the same work on the same images."""
        try:
            self.header.check_same(before.header)
        except OptionError as error:
            raise OptionError(
                f"the checkpoint {file} belongs to another run: {error}; delete it to start again, or name "
                "another file"
            ) from error
        counted = bool(before.counts) if before.paths else self.counts
        if (before.levels, before.data, counted) != (self.levels, self.data, self.counts):
            raise StoreError(
                f"the checkpoint {file} belongs to another run: levels {before.levels}, data {before.data!r}, "
                f"{'with' if counted else 'without'} counts; here levels {self.levels}, data {self.data!r}, "
                f"{'with' if self.counts else 'without'}; delete it to start again, or name another file"
            )
        self.digests, self.seen = [share.digests for share in before.shares], before.seen
        for label, path in before.paths.items():
            self.images[label] = path.images
            if not self.counts:
                self.unions.put(label, path)
                continue
            for (level, key), tally in self._tallies(label).items():
                tally.add(path.sets(level)[key].ids, before.counts[label][level][key])

    def result(self) -> ClassPaths:
        """Return the class paths so far."""
        paths = {} if self.counts else self.unions.paths(self.levels, self.images)
        counts: dict[int, Counted] = {}
        for label, tallies in sorted(self.tallies.items()):
            counted: dict[Level, dict[str, Counts]] = {level: {} for level in self.levels}
            sets: dict[Level, dict[str, IdSet]] = {level: {} for level in self.levels}
            for (level, key), tally in tallies.items():
                ids, counted[level][key] = tally.result()
                sets[level][key] = IdSet.from_sorted(ids, size=tally.size)
            paths[label] = Path(self.header, sets, self.images[label])
            counts[label] = counted
        share = Share(np.concatenate([np.empty(0, np.uint64), *self.digests]), self.origin, self.rows[: self.seen])
        return ClassPaths(
            self.header,
            self.levels,
            paths,
            counts,
            self.seen,
            self.names,
            self.data,
            (share,) if self.seen else (),
        )
