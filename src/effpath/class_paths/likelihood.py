"""How likely a path is under each class: the mean log frequency of its elements among the class's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.class_paths import ClassPaths
from effpath.errors import ClassPathError, OptionError
from effpath.paths.batch import Paths
from effpath.paths.idset import IdSet
from effpath.rules.plan import Level

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Table:
    """What the classes used of one layer's set: rows of the ids that any used, and a count for each class."""

    size: int
    starts: NDArray[np.int64]
    lows: NDArray[np.uint16]
    counts: NDArray[np.unsignedinteger]  # [ids, classes]
    highest: int  # of the counts


class PathLikelihood:
    """Use counts of class paths, arranged so that the likelihood under all classes looks at each element once.

    Membership says whether *any* image of a class used an element; counts say how many did. An element that k of
    n images used has the frequency (k + ½) ÷ (n + 1). Memory: two bytes per element of the overall path and class.

    Example::

        likelihood = PathLikelihood(class_paths)
        likelihood(effpath.extract(graph, images)).mean(1).argmax(1)  # the class under which it is most likely
    """

    def __init__(self, class_paths: ClassPaths, level: Level = "synapses") -> None:
        """Arrange the counts of one level; OptionError where class paths were built without counts."""
        if level not in class_paths.levels or set(class_paths.counts) != set(class_paths.paths):
            raise OptionError(
                f"the likelihood of a path needs the use counts of {level} of every class; build the class paths "
                f"with counts=True and levels that include {level!r}"
            )
        self.header = class_paths.header
        self.level: Level = level
        self.classes = class_paths.classes
        self.images = np.array([class_paths[label].images for label in self.classes], np.int64)
        self._tables = {key: _table(class_paths, level, key) for key in self.header.keys(level)}

    def __call__(self, paths: Paths, *, left_out: NDArray[np.int64] | None = None) -> Floats:
        """Return the mean log frequency of each path's elements in each class, layer by layer.

        Args:
            paths: of images, of the same network and options.
            left_out: int64 [N], the class whose path an image helped to build: there the image itself is not
                counted (leave-one-out). −1 for an image that helped to build none.

        Returns:
            float64 [images, sets, classes], ≤ 0; NaN where the image's own set is empty.

        Raises:
            ClassPathError: an image is to be left out of a class path that it did not help to build.
            FingerprintError: paths of another network.
        """
        from effpath.kernels.likelihood import add_logs  # importing Numba takes a third of a second

        self.header.check_same(paths.header)
        places = np.full(len(paths), -1) if left_out is None else self._places(left_out, len(paths))
        found = np.full((len(paths), len(self._tables), len(self.classes)), np.nan)
        for column, (key, sets) in enumerate(paths.ragged(self.level).items()):
            table, sums = self._tables[key], np.zeros((len(paths), len(self.classes)))
            logs = self._logs(table)
            without = np.full_like(logs, np.nan)  # an image that helped to build a path used what is in its own
            without[:, 1:] = np.log((np.arange(1, logs.shape[1]) - 0.5) / self.images[:, None])
            known = table.starts, table.lows, table.counts
            add_logs(*known, logs, without, sets.values, sets.offsets, places, sums)
            some = sets.lengths > 0
            found[some, column] = sums[some] / sets.lengths[some, None]
            wrong = np.flatnonzero(np.isnan(sums).any(1))
            if len(wrong):
                raise ClassPathError(
                    f"image {wrong[0]} is to be left out of the path of class {self.classes[places[wrong[0]]]}, "
                    "which it did not help to build"
                )
        return found

    def log_frequencies(self, key: str, ids: NDArray[np.int64], labels: Sequence[int] | None = None) -> Floats:
        """Return the log frequency of single elements among the images of classes; the likelihood is their mean.

        Args:
            key: of the set, a layer (or, of weights, a parameter).
            ids: int64 [n], in any order.
            labels: the classes asked for; None for all of `classes`.

        Returns:
            float64 [n, classes asked for], < 0.

        Raises:
            OptionError: no such set, or an id beyond it.
            ClassPathError: a class without a path.
        """
        from effpath.kernels.likelihood import counts_of

        if key not in self._tables:
            raise OptionError(f"no {self.level} of {key!r}; there are those of: {', '.join(self._tables)}")
        table, asked = self._tables[key], np.ascontiguousarray(ids, np.int64)
        if len(asked) and not (asked.min() >= 0 and asked.max() < table.size):
            raise OptionError(
                f"{self.level} of {key!r} are numbered 0 … {table.size - 1}; got {asked.min()} … {asked.max()}"
            )
        columns = self.columns(self.classes if labels is None else labels)
        counts = np.empty((len(asked), len(columns)), np.int64)
        counts_of(table.starts, table.lows, table.counts, asked, columns, counts)
        found: Floats = self._logs(table)[columns, counts]
        return found

    def columns(self, labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of classes among `classes`, int64 [m]; ClassPathError where one has no path."""
        found = columns_of(self.classes, labels)
        if (found < 0).any():
            unknown = int(np.asarray(labels)[found < 0].min())
            raise ClassPathError(f"no class path for class {unknown}; there are those of {self.classes}")
        return found

    def _logs(self, table: _Table) -> Floats:
        """Return the log frequency [classes, count + 1] of what so many images of a class used."""
        seen = np.arange(table.highest + 1)
        logs: Floats = np.log((seen + 0.5) / (self.images[:, None] + 1))
        return logs

    def _places(self, left_out: NDArray[np.int64], images: int) -> NDArray[np.int64]:
        """Return the columns of the classes that images are left out of, −1 for none."""
        given = np.asarray(left_out, np.int64)
        if given.shape != (images,):
            raise OptionError(f"expected a class to leave out for each of {images} paths, got shape {given.shape}")
        places = np.full(images, -1)
        places[given != -1] = self.columns(given[given != -1])
        return places


def _table(class_paths: ClassPaths, level: Level, key: str) -> _Table:
    sets = {label: class_paths[label].sets(level)[key] for label in class_paths.classes}
    known: IdSet = reduce(or_, sets.values())
    ids = known.ids
    used = {label: class_paths.counts[label][level][key] for label in sets}
    highest = max((int(uses.max(initial=0)) for uses in used.values()), default=0)
    counts = np.zeros((len(ids), len(sets)), np.uint16 if highest < 1 << 16 else np.uint32)
    for column, (label, members) in enumerate(sets.items()):
        counts[np.searchsorted(ids, members.ids), column] = used[label]
    return _Table(known.size, *known.rows, counts, highest)


def columns_of(classes: Sequence[int], labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of labels among the classes of a likelihood, int64 [m]; −1 for one without a path."""
    column = {label: place for place, label in enumerate(classes)}
    return np.array([column.get(int(label), -1) for label in labels], np.int64)


def margins(likelihood: Floats, places: NDArray[np.int64]) -> Floats:
    """Return the likelihood of each layer's set under one class less the highest under another.

    Args:
        likelihood: [N, sets, classes], what `PathLikelihood` gives; two classes at least.
        places: int64 [N], the column of that class (of the predicted class, say); −1 where it has no path.

    Returns:
        float64 [N, sets]: below 0 where another class is likelier; NaN where the image's own set is empty, or the
        class has no path.
    """
    if likelihood.shape[2] < 2:
        raise OptionError("a margin needs class paths of at least two classes")
    rows = np.arange(len(likelihood))
    others = likelihood.copy()
    others[rows, :, places] = -np.inf
    result: Floats = likelihood[rows, :, places] - others.max(2)
    result[places < 0] = np.nan
    return result
