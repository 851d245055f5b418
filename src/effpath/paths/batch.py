"""Effective paths of a batch of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.errors import OptionError
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.paths.rows import IdRows, Ragged, join_rows, select_rows
from effpath.rules.plan import LEVELS, Level


@dataclass(eq=False, repr=False)
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

    header: Header
    classes: NDArray[np.int64]
    rank: int
    logits: NDArray[np.float32]
    synapses: Mapping[str, IdRows]
    neurons: Mapping[str, IdRows]
    pixels: Ragged | None

    @classmethod
    def join(cls, parts: Sequence[Paths]) -> Paths:
        """Concatenate the paths of several batches of one network."""
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
    def weights(self) -> Mapping[str, IdRows]:
        """Weight ids by parameter, each once per image; derived from the synapses."""
        found = {}
        for parameter in self.header.keys("weights"):
            size = self.header.universe("weights", parameter)
            keys = []
            for layer in self.header.layers:
                if layer.parameter == parameter:
                    slots = self.synapses[layer.name]
                    images = np.repeat(np.arange(len(self)), slots.lengths)
                    keys.append(images * size + layer.window.weights_of(torch.from_numpy(slots.values)).numpy())
            used = np.unique(np.concatenate(keys))
            found[parameter] = Ragged.of(used // size, used % size, len(self))
        return found

    def ragged(self, level: Level) -> Mapping[str, IdRows]:
        """Return the sets of a level, by layer (by parameter, for weights)."""
        if level not in LEVELS:
            raise OptionError(f"level must be one of {LEVELS}, got {level!r}")
        found: Mapping[str, IdRows] = getattr(self, level)
        return found

    def __len__(self) -> int:
        """Return the number of images."""
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
        return self._take(at) if at.ndim else self.union([int(at)])

    def _take(self, rows: NDArray[np.int64]) -> Paths:
        synapses: dict[str, IdRows] = {}
        neurons: dict[str, IdRows] = {}
        for name in self.synapses:
            synapses[name], neurons[name] = select_rows(self.synapses[name], self.neurons[name], rows)
        pixels = None if self.pixels is None else self.pixels.select(rows)
        return Paths(self.header, self.classes[rows], self.rank, self.logits[rows], synapses, neurons, pixels)

    def only(self, header: Header) -> Paths:
        """Return the same paths in the layers of a header, which are some of these."""
        names = header.keys("synapses")
        kept = [{name: sets[name] for name in names} for sets in (self.synapses, self.neurons)]
        return Paths(header, self.classes, self.rank, self.logits, kept[0], kept[1], self.pixels)

    def __repr__(self) -> str:
        return f"Paths({len(self)} images, {len(self.header.layers)} layers)"

    def union(self, rows: Sequence[int] | None = None) -> Path:
        """Return the union of the paths of all images, or of some rows."""
        at = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        sets: dict[Level, dict[str, IdSet]] = {"synapses": {}, "neurons": {}}
        for level, found in sets.items():
            for key, ids in self.ragged(level).items():
                size = self.header.universe(level, key)
                one = len(at) == 1
                found[key] = (
                    IdSet.from_sorted(ids[int(at[0])], size=size) if one else IdSet(ids.take(at), size=size)
                )
        return Path(self.header, sets, len(at))
