"""Class paths: the union over a class's correctly predicted images (Sec. 2.2), and which images those were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import combinations
from operator import index, or_

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.class_paths.growth import expected_sizes
from effpath.class_paths.tally import Counts, Tally
from effpath.errors import ClassPathError, OptionError
from effpath.paths.batch import Paths
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.rules.plan import Level

Counted = Mapping[Level, Mapping[str, Counts]]
Digests = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Shard:
    """Images that were looked at, in order.

    Attributes:
        digests: uint64 [N], of each image's pixels and label.
        origin: names the data set that the rows count in, by its content; "" where it is not known.
        rows: int64 [N], where each image stands there; empty where that is not known.
    """

    digests: Digests
    origin: str = ""
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def common(self, other: Shard) -> int:
        """Return how many images are in another shard too.

        In one data set an image is known by its row too, so that a picture that stands there twice is two images.
        """
        if self.origin and self.origin == other.origin:
            _, at, at_other = np.intersect1d(self.rows, other.rows, return_indices=True)
            return int((self.digests[at] == other.digests[at_other]).sum())
        return int(np.isin(self.digests, other.digests).sum())


@dataclass(frozen=True, eq=False)
class ClassPaths(Mapping[int, Path]):
    """The path of each class that has one, ascending, with what they were built from.

    Those of a store are read from its files when they are asked for, class by class and layer by layer; of what
    was read at most 64 MiB are held for the next query. `loaded` reads and holds all of them.

    Attributes:
        header: network, options and layers.
        levels: the levels that are kept.
        paths: by class.
        counts: by class, level and set: the number of images that used each member, uint32 in the order of the
            set's ids; empty where counts were not kept.
        seen: images looked at, correctly predicted or not.
        names: of the classes, by class; may be empty.
        data: what the images were, in the builder's words.
        shards: which images they were; empty where that is not known.
    """

    header: Header
    levels: tuple[Level, ...]
    paths: Mapping[int, Path]
    counts: Mapping[int, Counted] = field(default_factory=dict)
    seen: int = 0
    names: tuple[str, ...] = ()
    data: str = ""
    shards: Sequence[Shard] = ()

    def __getitem__(self, label: int) -> Path:
        """Return the path of a class; ClassPathError where there is none."""
        if label not in self:
            built = ", ".join(map(str, self.classes)) or "none"
            raise ClassPathError(
                f"no class path for class {label!r}; there are class paths for {built}; "
                "build them over images of that class that the network predicts correctly"
            )
        return self.paths[index(label)]

    def __contains__(self, label: object) -> bool:
        """Tell whether a class has a path."""
        try:
            return index(label) in self.paths  # type: ignore[arg-type]
        except (TypeError, RuntimeError):  # no integer; a tensor of several
            return False

    def __iter__(self) -> Iterator[int]:
        """Classes that have a path, ascending."""
        return iter(self.classes)

    def get(self, label: int, default: Path | None = None) -> Path | None:  # type: ignore[override]
        """Return the path of a class, or ``default`` where there is none."""
        return self[label] if label in self else default  # noqa: SIM401

    def __len__(self) -> int:
        """Return the number of classes that have a path."""
        return len(self.paths)

    @property
    def classes(self) -> list[int]:
        """Classes that have a path, ascending."""
        return sorted(self.paths)

    @property
    def images(self) -> int:
        """Correctly predicted images in all class paths together."""
        return sum(path.images for path in self.paths.values())

    @property
    def overall(self) -> Path:
        """The overall path: union over all classes; ClassPathError where there is none."""
        if not self.paths:
            raise ClassPathError(
                "no class has a path, so there is no overall path; give images predicted correctly"
            )
        return reduce(or_, (self.paths[label] for label in self.classes))

    def loaded(self) -> ClassPaths:
        """Return the same class paths, read into memory."""
        paths = {
            label: Path(self.header, {level: dict(path.sets(level)) for level in self.levels}, path.images)
            for label, path in self.paths.items()
        }
        counts = {
            label: {level: dict(sets) for level, sets in counted.items()} for label, counted in self.counts.items()
        }
        return replace(self, paths=paths, counts=counts, shards=tuple(self.shards))

    def class_similarity(self, level: Level = "synapses", *, minimum: int = 1) -> NDArray[np.float64]:
        """Return the Jaccard similarity of each two class paths (Eq. 5), float64 [classes, classes].

        The sets of one layer are compared at a time.

        Args:
            level: synapses, neurons or weights.
            minimum: compare the elements that at least so many images of a class used; see `members`.
        """
        classes = self.classes
        both = np.zeros((len(classes), len(classes)), np.int64)
        sizes = np.zeros(len(classes), np.int64)
        for key in self.header.keys(level):
            sets = [self.members(label, level, key, minimum) for label in classes]
            sizes += np.array([len(each) for each in sets], np.int64)
            for i, j in combinations(range(len(classes)), 2):
                both[i, j] += sets[i].intersection_size(sets[j])
        either = sizes[:, None] + sizes - both
        matrix = np.full(both.shape, np.nan)
        np.divide(both, either, out=matrix, where=either > 0)
        above: NDArray[np.float64] = np.triu(matrix, 1)
        return above + above.T + np.eye(len(classes), dtype=np.float64)

    def densities(self, level: Level = "synapses", *, minimum: int = 1) -> NDArray[np.float64]:
        """Return the density of each class path, layer by layer (Eq. 4), float64 [classes, sets].

        Args:
            level: synapses, neurons or weights.
            minimum: count the elements that at least so many images of the class used; see `members`.
        """
        keys = self.header.keys(level)
        totals = np.array([self.header.total(level, key) for key in keys], np.float64)
        sizes = [[len(self.members(label, level, key, minimum)) for key in keys] for label in self.classes]
        densities: NDArray[np.float64] = np.array(sizes, np.float64).reshape(len(self), len(keys)) / totals
        return densities

    def growth(self, label: int, images: Sequence[int], level: Level = "synapses") -> NDArray[np.float64]:
        """Return the mean size of the path of a class over fewer of its images, float64 [numbers of images, sets].

        Args:
            label: the class.
            images: how many of its images, drawn at random; 0 … all of them.
            level: synapses, neurons or weights.

        Raises:
            OptionError: class paths without use counts, or more images than the class has.
        """
        used = self[label].images
        if level not in self.counts.get(label, {}):
            raise OptionError(
                "the growth of a class path needs its use counts; build them with counts=True and this level"
            )
        if not all(0 <= number <= used for number in images):
            raise OptionError(
                f"expected numbers of images in 0 … {used}, which class {label} has, got {list(images)}"
            )
        counted = self.counts[label][level]
        sizes = [expected_sizes(counted[key], used, images) for key in self.header.keys(level)]
        return np.array(sizes, np.float64).reshape(len(sizes), len(images)).T

    def similarity(
        self, paths: Paths, level: Level = "synapses", *, minimum: int = 1, allow_missing: bool = False
    ) -> NDArray[np.float64]:
        """Return the image-class path similarity of each layer: |S ∩ S̃_p| ÷ |S| for a path from class p.

        Args:
            paths: of images, of the same network and options.
            level: synapses, neurons or weights.
            minimum: count an element of the class path only if so many images used it; 2 is
                leave-one-out for images that the class path was built from. More than 1 needs counts.
            allow_missing: give NaN, instead of an error, where the class has no path.

        Returns:
            float64 [images, sets]; NaN where the image's own set is empty.

        Raises:
            ClassPathError: the class of an image has no path, unless ``allow_missing``.
            OptionError, FingerprintError: paths of other options or of another network.
        """
        self.header.check_same(paths.header)
        ragged = paths.ragged(level)
        result = np.full((len(paths), len(ragged)), np.nan)
        for label in np.unique(paths.classes).tolist():
            if allow_missing and label not in self:
                continue
            rows = np.flatnonzero(paths.classes == label)
            for column, (key, sets) in enumerate(ragged.items()):
                lengths = sets.lengths[rows]
                inside = self.members(label, level, key, minimum).contains(sets.take(rows))
                hits = np.array([np.count_nonzero(each) for each in np.split(inside, np.cumsum(lengths)[:-1])])
                some = lengths > 0
                result[rows[some], column] = hits[some] / lengths[some]
        return result

    def members(self, label: int, level: Level, key: str, minimum: int = 1) -> IdSet:
        """Return one set of a class: the elements that at least so many of its images used."""
        path = self[label]
        if minimum <= 1:
            return path.sets(level)[key]
        if label not in self.counts:
            raise OptionError("minimum > 1 needs use counts; build the class paths with counts=True")
        used = path.sets(level)[key]
        return IdSet.from_sorted(used.ids[self.counts[label][level][key] >= minimum], size=used.size)

    def feature_names(self, level: Level = "synapses", rank: int = 1) -> list[str]:
        """Return the names of the columns of `similarity` for paths of a rank."""
        return [f"rank{rank}:{level}:{key}" for key in self.header.keys(level)]

    def __or__(self, other: ClassPaths) -> ClassPaths:
        """Merge class paths of one network built over disjoint images (on several machines, say).

        Raises:
            OptionError: of other options, layers or levels, or an image is on both sides.
            FingerprintError: of another network.
        """
        if not isinstance(other, ClassPaths):
            return NotImplemented
        self.header.check_same(other.header)
        if self.levels != other.levels:
            raise OptionError(f"class paths of different levels: {self.levels} and {other.levels}")
        if both := sum(one.common(two) for one in self.shards for two in other.shards):
            raise OptionError(
                f"expected class paths of disjoint images, got {both} of {other.seen} images on both sides (of "
                f"{self.data!r} and {other.data!r}): merge each shard once, or build them over other images"
            )
        paths = dict(self.paths)
        counts = dict(self.counts)
        for label, path in other.paths.items():
            if label not in paths:
                paths[label], counted = path, other.counts.get(label)
            else:
                paths[label], counted = unite((self, other), label)
            counts.pop(label, None)
            if counted is not None:
                counts[label] = counted
        return ClassPaths(
            self.header, self.levels, paths, counts, self.seen + other.seen, self.names or other.names,
            self.data if self.data == other.data else f"{self.data} | {other.data}",
            (*self.shards, *other.shards),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"ClassPaths({len(self)} classes, {self.images} images, levels {', '.join(self.levels)})"


def unite(sides: Sequence[ClassPaths], label: int) -> tuple[Path, Counted | None]:
    """Return the path of a class that all sides have, united, and its use counts; None where a side has none.

    One set of one side is looked at at a time.
    """
    first = sides[0]
    counted = all(label in side.counts for side in sides)
    sets: dict[Level, dict[str, IdSet]] = {}
    counts: dict[Level, dict[str, Counts]] = {}
    for level in first.levels:
        sets[level], counts[level] = {}, {}
        for key in first.header.keys(level):
            size = first.header.universe(level, key)
            if not counted:
                sets[level][key] = _union(side.paths[label].sets(level)[key] for side in sides)
                continue
            tally = Tally(size, dense=False)
            for side in sides:
                tally.add(side.paths[label].sets(level)[key].ids, side.counts[label][level][key])
            ids, counts[level][key] = tally.result()
            sets[level][key] = IdSet.from_sorted(ids, size=size)
    images = sum(side.paths[label].images for side in sides)
    return Path(first.header, sets, images), counts if counted else None


def _union(sets: Iterable[IdSet]) -> IdSet:
    """Return the union, of two of a size at a time: an id is looked at log n times, not n times."""
    waiting: list[tuple[int, IdSet]] = []  # unions of 2^k sets, k falling
    for one in sets:
        power = 0
        while waiting and waiting[-1][0] == power:
            one, power = waiting.pop()[1] | one, power + 1
        waiting.append((power, one))
    return reduce(or_, (one for _, one in reversed(waiting)))


def digests_of(images: Tensor, labels: Tensor) -> Digests:
    """Return a digest of each image [N, …] with its label, uint64 [N]; its first 64 bits of SHA-256."""
    flat = images.detach().cpu().contiguous().reshape(len(images), -1).view(torch.uint8).numpy()
    found = np.empty(len(images), np.uint64)
    for row, (pixels, label) in enumerate(zip(flat, labels.tolist(), strict=True)):
        digest = hashlib.sha256(pixels)
        digest.update(int(label).to_bytes(8, "little", signed=True))
        found[row] = int.from_bytes(digest.digest()[:8], "little")
    return found
