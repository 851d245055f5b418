"""Effective paths: of a batch of images (`Paths`), of one image or of a union of them (`Path`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.errors import NO_LAYER, CaptureError, FingerprintError, OptionError
from effpath.graph.graph import Graph
from effpath.kernels.options import Options
from effpath.paths.compact import CompactNeurons, CompactSynapses
from effpath.paths.idset import Ids, IdSet
from effpath.rules.plan import LEVELS, Layer, Level

Sets = Mapping[str, IdSet]


@dataclass(frozen=True, eq=False)
class Header:
    """What a path was made of and how; two paths can be compared only where these agree.

    Attributes:
        fingerprint: of the network's graph.
        options: of the selection.
        layers: in forward order; the layers that sets are kept for.
        pixels: elements of one input image.
        architecture: fingerprint of the graph apart from its weights; "" where it is not known.
        structure: `Graph.structure`, with which files let the network be captured again at once.
    """

    fingerprint: str
    options: Options
    layers: tuple[Layer, ...]
    pixels: int
    architecture: str = ""
    structure: str | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, graph: Graph, options: Options, layers: tuple[Layer, ...]) -> Header:
        """Return what paths of a network hold to."""
        pixels = graph.size(graph.input)
        return cls(graph.fingerprint, options, layers, pixels, graph.architecture, graph.structure)

    def layer(self, name: str) -> Layer:
        """Return a layer by name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise OptionError(f"no layer {name!r} in this path; it has {', '.join(la.name for la in self.layers)}")

    def keys(self, level: Level) -> list[str]:
        """Names of the sets of a level: layers, or parameters for weights, each once, in forward order."""
        if level == "weights":
            return list(dict.fromkeys(layer.parameter for layer in self.layers if layer.parameter))
        return [layer.name for layer in self.layers]

    def universe(self, level: Level, key: str) -> int:
        """Size of the universe of one set."""
        return self._of(level, key).universe(level)

    def total(self, level: Level, key: str) -> int:
        """Number of elements that exist (in-bounds synapses, neurons or weights)."""
        return self._of(level, key).total(level)

    def _of(self, level: Level, key: str) -> Layer:
        if level == "weights":
            return next(layer for layer in self.layers if layer.parameter == key)
        return self.layer(key)

    def check_same(self, other: Header) -> None:
        """Raise FingerprintError or OptionError where two headers do not agree."""
        if self.fingerprint != other.fingerprint:
            raise FingerprintError(
                f"paths of different networks: fingerprint {self.fingerprint} and {other.fingerprint}; "
                f"extract both with the same graph: {differing(self.architecture, other.architecture)}"
            )
        if self.options != other.options:
            raise OptionError(f"paths of different options: {self.options} and {other.options}")
        if [la.name for la in self.layers] != [la.name for la in other.layers]:
            raise OptionError(f"paths of different layers: {self.keys('neurons')} and {other.keys('neurons')}")


def differing(built: str, here: str) -> str:
    """Return what to do about two networks, given their architectures: "" is one that is not known."""
    if built == here != "":
        return (
            "the architecture is the same and the weights differ: load the weights that they were built with "
            "(--weights; without it a network has random ones), or build them again"
        )
    if built and here:
        return "the architectures differ: load the model that they were built with, or build them again"
    return "load the model that they were built with, with its weights (--weights), or build them again"


class Path:
    """An effective path P = (N, S, W): sets of neurons, synapses and weights, kept per layer (Sec. 2.1).

    Attributes:
        header: network, options, layers.
        synapses: slot ids by layer (`pairs` turns them into output and input ids).
        neurons: ids of the layer's active outputs in C·H·W order, by layer.
        weights: flat ids into the parameter, by parameter; None where they were not kept.
        images: number of images in the union.
    """

    def __init__(
        self,
        header: Header,
        synapses: Sets | None,
        neurons: Sets | None,
        weights: Sets | None = None,
        images: int = 1,
    ) -> None:
        """Hold the sets; weights follow from the synapses where they are not given."""
        self.header = header
        self.images = images
        self._synapses, self._neurons, self._weights = synapses, neurons, weights

    @property
    def synapses(self) -> Sets:
        """Slot ids by layer."""
        return self._kept(self._synapses, "synapses")

    @property
    def neurons(self) -> Sets:
        """Active outputs by layer."""
        return self._kept(self._neurons, "neurons")

    @property
    def weights(self) -> Sets:
        """Weight ids by parameter; derived from the synapses at first use."""
        if self._weights is None and self._synapses is not None:
            self._weights = weights_of(self.header, {k: s.ids for k, s in self._synapses.items()})
        return self._kept(self._weights, "weights")

    @staticmethod
    def _kept(sets: Sets | None, level: Level) -> Sets:
        if sets is None:
            raise OptionError(f"this path keeps no {level}; build it with levels=({level!r}, …)")
        return sets

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels that this path can give."""
        has: dict[Level, bool] = {
            "synapses": self._synapses is not None,
            "neurons": self._neurons is not None,
            "weights": self._weights is not None or self._synapses is not None,
        }
        return tuple(level for level in LEVELS if has[level])

    def sets(self, level: Level) -> Sets:
        """Return the sets of a level."""
        if level not in LEVELS:
            raise OptionError(f"level must be one of {LEVELS}, got {level!r}")
        by_level: dict[Level, Callable[[], Sets]] = {
            "synapses": lambda: self.synapses,
            "neurons": lambda: self.neurons,
            "weights": lambda: self.weights,
        }
        return by_level[level]()

    def pairs(self, layer: str) -> tuple[Ids, Ids]:
        """Return the layer's synapses as (output ids, input ids), each int64 [n], C·H·W order, no padding.

        Inputs are those of the tensor before its padding: where a border copies an element, as a reflection does,
        a pair may come several times, once per tap. A padding by another value than zero is an input of its own.
        """
        outputs, inputs = self.header.layer(layer).window.ends(torch.from_numpy(self.synapses[layer].ids))
        return outputs.numpy(), inputs.numpy()

    def density(self, level: Level = "synapses") -> float:
        """Share of the network that the path uses: Σ|set| ÷ Σ|all| over the layers (Eq. 4)."""
        sets = self.sets(level)
        if not sets:
            raise CaptureError(NO_LAYER)
        return sum(map(len, sets.values())) / sum(self.header.total(level, key) for key in sets)

    def layer_density(self, level: Level = "synapses") -> dict[str, float]:
        """Density of each layer (parameter, for weights)."""
        return {key: len(s) / self.header.total(level, key) for key, s in self.sets(level).items()}

    def jaccard(self, other: Path, level: Level = "synapses") -> float:
        """Class-wise path similarity: |A ∩ B| ÷ |A ∪ B| over all layers (Eq. 5); NaN where both are empty."""
        self.header.check_same(other.header)
        mine, theirs = self.sets(level), other.sets(level)
        both = sum(mine[key].intersection_size(theirs[key]) for key in mine)
        either = sum(len(mine[key]) + len(theirs[key]) for key in mine) - both
        return both / either if either else float("nan")

    def layer_jaccard(self, other: Path, level: Level = "synapses") -> dict[str, float]:
        """Jaccard of each layer."""
        self.header.check_same(other.header)
        theirs = other.sets(level)
        return {key: s.jaccard(theirs[key]) for key, s in self.sets(level).items()}

    def __or__(self, other: Path) -> Path:
        """Union of two paths of one network."""
        self.header.check_same(other.header)

        def union(mine: Sets | None, theirs: Sets | None) -> Sets | None:
            if mine is None or theirs is None:
                return None
            return {key: s | theirs[key] for key, s in mine.items()}

        weights = None
        if self._synapses is None or other._synapses is None:
            weights = union(self._weights, other._weights)
        return Path(
            self.header,
            union(self._synapses, other._synapses),
            union(self._neurons, other._neurons),
            weights,
            self.images + other.images,
        )

    def __le__(self, other: Path) -> bool:
        """Tell whether every set lies inside the other's."""
        self.header.check_same(other.header)
        levels = [level for level in self.levels if level in other.levels]
        return all(s <= other.sets(level)[key] for level in levels for key, s in self.sets(level).items())

    def __eq__(self, other: object) -> bool:
        """Equal sets on all levels, same network, options and layers; the number of images does not count."""
        if not isinstance(other, Path):
            return NotImplemented
        mine, theirs = self.header, other.header
        return (
            mine.fingerprint == theirs.fingerprint
            and mine.options == theirs.options
            and self.levels == other.levels
            and all(dict(self.sets(level)) == dict(other.sets(level)) for level in self.levels)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Levels and sizes."""
        sizes = ", ".join(f"{sum(map(len, self.sets(lv).values()))} {lv}" for lv in self.levels)
        return f"Path({sizes}; {self.images} images, {len(self.header.layers)} layers)"


def weights_of(header: Header, slots: Mapping[str, Ids]) -> dict[str, IdSet]:
    """Return the weights behind synapse slots, by parameter; layers that share one are united."""
    found: dict[str, IdSet] = {}
    for layer in header.layers:
        if layer.parameter is None:
            continue
        ids = layer.window.weights_of(torch.from_numpy(slots[layer.name])).numpy()
        own = IdSet(ids, size=layer.window.weights)
        found[layer.parameter] = found[layer.parameter] | own if layer.parameter in found else own
    return found


class IdRows(Protocol):
    """Sorted ids of each image of a batch, however they are kept."""

    @property
    def values(self) -> Ids:
        """All ids, image after image."""

    @property
    def offsets(self) -> Ids:
        """Where each image's begin, [B + 1]."""

    @property
    def lengths(self) -> Ids:
        """Number of ids of each image."""

    def __getitem__(self, index: int) -> Ids:
        """Ids of one image."""

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """Ids of several images, laid end to end."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """Sorted ids of each image of a batch, laid end to end: image i has values[offsets[i]:offsets[i+1]]."""

    values: Ids
    offsets: Ids

    @classmethod
    def of(cls, image: NDArray[np.int64], ids: Ids, images: int) -> Ragged:
        """Make it of ids sorted by image."""
        return cls(ids, np.searchsorted(image, np.arange(images + 1)).astype(np.int64))

    @classmethod
    def join(cls, parts: Sequence[IdRows]) -> Ragged:
        """Lay several batches end to end."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), np.concatenate([[0], lengths.cumsum()]))

    def __getitem__(self, index: int) -> Ids:
        """Ids of one image."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """Ids of several images, laid end to end."""
        return np.concatenate([self[row] for row in rows]) if len(rows) else self.values[:0]

    def select(self, rows: NDArray[np.int64]) -> Ragged:
        """Return the sets of some images."""
        return Ragged(self.take(rows), np.concatenate([[0], self.lengths[rows].cumsum()]).astype(np.int64))

    @property
    def lengths(self) -> Ids:
        """Number of ids of each image."""
        return np.diff(self.offsets)


def join_rows(synapses: Sequence[IdRows], neurons: Sequence[IdRows]) -> tuple[IdRows, IdRows]:
    """Lay the sets of one layer of several batches end to end."""
    compact = [rows for rows in synapses if isinstance(rows, CompactSynapses)]
    if len(compact) == len(synapses):
        joined = CompactSynapses.join(compact)
        return joined, CompactNeurons(joined)
    return Ragged.join(synapses), Ragged.join(neurons)


def select_rows(synapses: IdRows, neurons: IdRows, rows: NDArray[np.int64]) -> tuple[IdRows, IdRows]:
    """Return the sets of one layer of some images of a batch."""
    if isinstance(synapses, CompactSynapses) and isinstance(neurons, CompactNeurons):
        chosen = synapses.select(rows)
        return chosen, CompactNeurons(chosen)
    return Ragged.join([synapses]).select(rows), Ragged.join([neurons]).select(rows)


class Paths(Sequence[Path]):
    """Effective paths of a batch of images.

    Attributes:
        header: network, options, layers.
        classes: int64 [B], the class that each path starts from.
        rank: 1 for the predicted class, 2 for the runner-up …; 0 where the classes were given.
        logits: float [B, classes].
        synapses: slot ids by layer.
        neurons: active outputs by layer.
        pixels: active input elements; None for a partial extraction.
    """

    def __init__(
        self,
        header: Header,
        classes: NDArray[np.int64],
        rank: int,
        logits: NDArray[np.float32],
        synapses: Mapping[str, IdRows],
        neurons: Mapping[str, IdRows],
        pixels: Ragged | None,
    ) -> None:
        """Hold the sets of a batch."""
        self.header, self.classes, self.rank, self.logits = header, classes, rank, logits
        self.synapses, self.neurons, self.pixels = synapses, neurons, pixels

    @classmethod
    def join(cls, parts: Sequence[Paths]) -> Paths:
        """Lay the paths of several batches of one network end to end."""
        first = parts[0]
        for part in parts[1:]:
            first.header.check_same(part.header)
        if len(parts) == 1:
            return first
        synapses: dict[str, IdRows] = {}
        neurons: dict[str, IdRows] = {}
        for name in first.synapses:
            rows = [part.synapses[name] for part in parts], [part.neurons[name] for part in parts]
            synapses[name], neurons[name] = join_rows(*rows)
        pixels = [part.pixels for part in parts if part.pixels is not None]
        return cls(
            first.header,
            np.concatenate([part.classes for part in parts]),
            first.rank,
            np.concatenate([part.logits for part in parts]),
            synapses,
            neurons,
            Ragged.join(pixels) if len(pixels) == len(parts) else None,
        )

    @cached_property
    def weights(self) -> Mapping[str, Ragged]:
        """Weight ids by parameter, each once an image; derived from the synapses."""
        images = len(self)
        found: dict[str, tuple[list[Ids], list[Ids]]] = {}
        for layer in self.header.layers:
            if layer.parameter is None:
                continue
            ragged = self.synapses[layer.name]
            rows, ids = found.setdefault(layer.parameter, ([], []))
            rows.append(np.repeat(np.arange(images), ragged.lengths))
            ids.append(layer.window.weights_of(torch.from_numpy(ragged.values)).numpy())
        result = {}
        for parameter, (rows, ids) in found.items():
            size = self.header.universe("weights", parameter)
            keys = np.unique(np.concatenate(rows) * size + np.concatenate(ids))
            result[parameter] = Ragged.of(keys // size, keys % size, images)
        return result

    def ragged(self, level: Level) -> Mapping[str, IdRows]:
        """Return the sets of a level, by layer (by parameter, for weights)."""
        if level == "synapses":
            return self.synapses
        if level == "neurons":
            return self.neurons
        if level == "weights":
            return self.weights
        raise OptionError(f"level must be one of {LEVELS}, got {level!r}")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.classes)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any] | Tensor) -> Paths: ...

    def __getitem__(self, index: Any) -> Path | Paths:
        """Return the path of one image, or of a slice, indices or a mask of images their paths.

        Raises:
            IndexError: no image of that number, or a mask of another length.
            OptionError: an index that is none of these.
        """
        if isinstance(index, slice):
            return self._take(np.arange(len(self))[index])
        rows = np.asarray(index)
        if rows.dtype == np.bool_ and rows.shape == (len(self),):
            return self._take(np.flatnonzero(rows))
        if rows.dtype == np.bool_ and rows.ndim == 1:
            raise IndexError(f"expected a mask of {len(self)} images, got one of {len(rows)}")
        if rows.ndim > 1 or (rows.dtype.kind not in "iu" and rows.size):
            raise OptionError(
                f"expected the number of an image, a slice, indices or a mask, got {type(index).__name__}"
                + f" {rows.dtype} {list(rows.shape)}" * (rows.dtype.kind != "O")
            )
        outside = rows[(rows < -len(self)) | (rows >= len(self))] if rows.size else rows
        if outside.size:
            raise IndexError(f"no image {outside.flat[0]} among the paths of {len(self)} images")
        at = np.where(rows < 0, rows + len(self), rows).astype(np.int64)
        return self._take(at) if at.ndim else self._path([int(at)], 1)

    def _take(self, rows: NDArray[np.int64]) -> Paths:
        synapses: dict[str, IdRows] = {}
        neurons: dict[str, IdRows] = {}
        for name in self.synapses:
            synapses[name], neurons[name] = select_rows(self.synapses[name], self.neurons[name], rows)
        pixels = None if self.pixels is None else self.pixels.select(rows)
        return Paths(self.header, self.classes[rows], self.rank, self.logits[rows], synapses, neurons, pixels)

    def __iter__(self) -> Iterator[Path]:
        """Paths of the images in order."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        """Sizes."""
        return f"Paths({len(self)} images, {len(self.header.layers)} layers)"

    def union(self, rows: Sequence[int] | None = None) -> Path:
        """Return the union of the paths of all images, or of some rows."""
        chosen = list(range(len(self)) if rows is None else rows)
        return self._path(chosen, len(chosen))

    def _path(self, rows: Sequence[int], images: int) -> Path:
        at = np.asarray(rows, dtype=np.int64)

        def sets(level: Level) -> dict[str, IdSet]:
            result = {}
            for key, ragged in self.ragged(level).items():
                size = self.header.universe(level, key)
                one = len(at) == 1
                result[key] = (
                    IdSet.from_sorted(ragged[int(at[0])], size=size) if one else IdSet(ragged.take(at), size=size)
                )
            return result

        return Path(self.header, sets("synapses"), sets("neurons"), None, images)
