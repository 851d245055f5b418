"""A sign of an attack: columns that are measured of images, what they cost, and which way they point."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from effpath.files.plain import percent

if TYPE_CHECKING:
    from effpath.detect.signs.evidence import Evidence
    from effpath.paths.header import Header

FloatArray = NDArray[np.float64]


class Sign(ABC):
    """Something that is measured of an image and may point to an attack.

    Attributes:
        name: of the sign.
        says: what each column of `suspicions` shows where it is high, in words that differ from all others'.
        direction: 1 where high columns are suspicious, −1 where low ones are, 0 where that is not known: then each
            end of a column is a suspicion of its own, and the combination learns what either counts.
        changes: of the image, whose answers it asks for: a forward pass each, beside the one that all signs share.
        passes: forward passes that it takes beside that one.
        walks: 1 where it reads the path, from the one walk that all signs share.
        needs: what it compares images with: the use counts of class paths (``"likelihood"``), or what is collected
            from clean images (``"forward sets"``, ``"neighbours"``, ``"pixels"``, see `Reference`); or another
            network (``"auxiliary network"``).
    """

    name: str
    says: tuple[str, ...]
    direction: int = 1
    changes: tuple[Callable[[Tensor], Tensor], ...] = ()
    passes: int = 0
    walks: int = 0
    needs: frozenset[str] = frozenset()

    @abstractmethod
    def columns(self, seen: Evidence) -> FloatArray:
        """Measure a batch, float64 [B, columns]; NaN where there is nothing to measure.

        A row depends on its image alone, up to the last bits of a forward pass.
        """

    def suspicions(self, seen: Evidence) -> FloatArray:
        """Return the columns, each turned so that high is suspicious, float64 [B, len(says)]."""
        found = self.columns(seen)
        if self.direction:
            return found * self.direction
        return np.concatenate([-found, found], axis=1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class LayerSign(Sign):
    """A sign that is the unweighted mean of what is measured in some layers: it can tell in which it shows.

    It has one column, and its direction is known.
    """

    @abstractmethod
    def layers(self, header: Header, walked: Sequence[str]) -> tuple[str, ...]:
        """Return the names of its layers, in forward order.

        Args:
            header: of the class paths.
            walked: the layers that the walk covers.
        """

    @abstractmethod
    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure a batch in each of its layers, float64 [B, layers]; NaN where there is nothing to measure."""

    @abstractmethod
    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say what was measured in a layer, beside its usual value, of an image that is taken for a class."""

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the mean over the layers, [B, 1]; NaN where there is nothing to measure."""
        return layer_mean(seen.by_layer(self))[:, None]


def share_in_words(what: str, of: str, value: float, usual: float) -> str:
    """Say of how many images something holds, from mean log frequencies: it is their geometric mean."""
    share, usually = (percent(min(1.0, math.exp(mean))) for mean in (value, usual))
    return f"{what} in {share} of {of}, usually {usually}"


def times_in_words(what: str, label: str, value: float, usual: float) -> str:
    """Say how much more often something holds in another class, from how far mean log frequencies lie apart."""
    times, usually = (f"{math.exp(-apart):.3g} times" for apart in (value, usual))
    return f"{what} {times} as often in another class as in class {label}, usually {usually}"


def layer_mean(values: FloatArray) -> FloatArray:
    """Return the mean of each row [B, layers] over what is not NaN, [B]; NaN where all is."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0).sum(1), known.sum(1)
    means: FloatArray = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return means


def shares_of(part: NDArray[np.int64], whole: NDArray[np.int64]) -> FloatArray:
    """Return part ÷ whole; NaN where the whole is 0."""
    shares: FloatArray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares
