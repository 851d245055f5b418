"""What clean images show, and how far it spreads: what is laid beside one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from effpath.detect.features import Features
    from effpath.detect.signs.sign import LayerSign

ENDS = (0.05, 0.5, 0.95)
ENOUGH = 20  # images: fewer of one class leave nothing beyond 5 %


@dataclass(frozen=True, eq=False)
class Band:
    """The middle 90 % of rank-1 similarities among clean images, by set.

    Attributes:
        low, median, high: float64 [sets], the quantiles of 5, 50 and 95 %; NaN where no image has the set.
        images: how many clean images it is of.
        label: the class that the network predicts for them; None for images of all classes.
    """

    low: NDArray[np.float64]
    median: NDArray[np.float64]
    high: NDArray[np.float64]
    images: int
    label: int | None


@dataclass(frozen=True, eq=False)
class CleanRows:
    """Rank-1 similarities of the clean images that a threshold was fixed on.

    Attributes:
        values: float64 [n, sets]; NaN where an image's set is empty.
        classes: int64 [n], the class that the network predicts for each.
    """

    values: NDArray[np.float64]
    classes: NDArray[np.int64]

    @classmethod
    def of(cls, features: Features) -> CleanRows:
        """Take the rank-1 similarities and the predicted classes of features."""
        columns = [column for column, name in enumerate(features.names) if name.startswith("rank1:")]
        return cls(features.values[:, columns], features.classes[:, 0].copy())

    def band(self, label: int) -> Band:
        """Return the band of a class; that of all classes where the class has fewer than `ENOUGH` images."""
        own = self.classes == label
        enough = int(own.sum()) >= ENOUGH
        rows = self.values[own] if enough else self.values
        low, median, high = _quantiles(rows, ENDS)
        return Band(low, median, high, len(rows), label if enough else None)


@dataclass(frozen=True, eq=False)
class UsualByLayer:
    """What clean images usually show in each layer, of the signs that are means over layers.

    Attributes:
        places: the sign and the layer of each column.
        medians: float64 [columns], over the images that a threshold was fixed on; NaN where none shows anything.
    """

    places: tuple[tuple[LayerSign, str], ...]
    medians: NDArray[np.float64]

    @classmethod
    def of(cls, places: tuple[tuple[LayerSign, str], ...], rows: NDArray[np.float64]) -> UsualByLayer:
        """Take the medians of rows [n, columns]."""
        return cls(places, _quantiles(rows, (0.5,))[0])


def _quantiles(rows: NDArray[np.float64], ends: Sequence[float]) -> NDArray[np.float64]:
    """Return quantiles of each column over what is not NaN, float64 [ends, sets]; NaN where all is."""
    found = np.full((len(ends), rows.shape[1]), np.nan)
    for column, values in enumerate(rows.T):
        known = values[~np.isnan(values)]
        if len(known):
            found[:, column] = np.quantile(known, ends)
    return found
