"""Pixels: are they like those of clean images, and of clean images of the class? Without a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.detect.signs.basis import Basis, FloatArray, Rows, blocks, small
from effpath.detect.signs.predicted import Predicting, Prediction

KEPT, KEPT_OF_CLASS = 0.98, 0.9  # shares of the variance that the spaces hold
LEAST = 1e-9  # of a distance
PREDICTED_FROM = ((5, 0), (3, 256))  # sides of squares around a pixel, and the units of the prediction


@dataclass(frozen=True, eq=False)
class Pixels:
    """The spaces of clean images' pixels, and what these are predicted from.

    Attributes:
        blocks: of their squares of 8 pixels.
        classes: of the images, made small, by class, in the order of `Reference.classes`.
        predictions: of a pixel from those around it, as `PREDICTED_FROM`.
    """

    blocks: Basis
    classes: tuple[Basis, ...]
    predictions: tuple[Prediction, ...]

    def outside(self, pixels: Tensor) -> FloatArray:
        """Return the log of the mean squared distance of an image's squares from their space, float64 [B]."""
        rows = blocks(pixels).cpu().numpy()
        distance = self.blocks.outside(rows).reshape(len(pixels), -1).mean(1)
        found: FloatArray = np.log(distance + LEAST)
        return found

    def outside_classes(self, pixels: Tensor, places: NDArray[np.int64], *, left_out: bool) -> FloatArray:
        """Return the log of the distance from the space of every class, float64 [B, classes].

        ``places`` [B] are where the predicted classes stand, or −1; images that were collected are left out there.
        """
        rows = small(pixels).cpu().numpy()
        found = np.stack([basis.outside(rows) for basis in self.classes], axis=1)
        if left_out:
            for place in np.unique(places[places >= 0]).tolist():
                own = places == place
                found[own, place] = self.classes[place].outside(rows[own], left_out=True)
        logs: FloatArray = np.log(found + LEAST)
        return logs

    @torch.no_grad()
    def mispredicted(self, pixels: Tensor) -> FloatArray:
        """Return `Prediction.logs` of every prediction, float64 [B, predictions]."""
        logs = torch.stack([each.logs(pixels) for each in self.predictions], 1)
        found: FloatArray = logs.double().cpu().numpy()
        return found

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a file holds of it, by name."""
        found: dict[str, NDArray[Any]] = {
            f"predicted/{number}/{name}": array
            for number, each in enumerate(self.predictions)
            for name, array in each.arrays.items()
        }
        for number, basis in enumerate((self.blocks, *self.classes)):
            found |= {f"{number}/{name}": getattr(basis, name) for name in ("mean", "directions", "variances")}
            found[f"{number}/rows"] = np.array([basis.rows], np.int64)
        return found

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]], classes: int) -> Pixels:
        """Return what `arrays` gave, for so many classes.

        Raises:
            KeyError, ValueError: an array is missing or does not fit the others.
        """
        spaces = []
        for number in range(classes + 1):
            mean, directions, variances, rows = (
                arrays[f"{number}/{name}"] for name in ("mean", "directions", "variances", "rows")
            )
            if mean.ndim != 1 or directions.shape != (len(variances), len(mean)) or rows.shape != (1,):
                raise ValueError(f"{list(directions.shape)} directions of {list(mean.shape)} pixels")
            spaces.append(Basis(mean, directions, variances, int(rows[0])))
        numbers = range(len(PREDICTED_FROM))
        predictions = tuple(Prediction.read(arrays, f"predicted/{number}/") for number in numbers)
        return cls(spaces[0], tuple(spaces[1:]), predictions)


class Collected:
    """Pixels of clean images, from which spaces and predictions are found; images may come in any batches."""

    def __init__(self, most: int) -> None:
        """Take so many images of each class, the first ones."""
        self.most = most
        self.rows: dict[int, list[Rows]] = {}
        self.total: FloatArray | None = None
        self.products: FloatArray | None = None
        self.squares = 0
        self.predicting = [Predicting(*each) for each in PREDICTED_FROM]

    def add(self, pixels: Tensor, labels: NDArray[np.int64]) -> None:
        """Add images [B, C, H, W] of these classes [B]."""
        for image, row, label in zip(
            torch.split(pixels, 1), small(pixels).cpu().numpy(), labels.tolist(), strict=True
        ):
            own = self.rows.setdefault(label, [])
            if len(own) == self.most:
                continue
            own.append(row)
            for predicting in self.predicting:
                predicting.add(image, label)
            cut = blocks(image).double().cpu().numpy()
            if self.total is None or self.products is None:
                self.total, self.products = np.zeros(cut.shape[1]), np.zeros((cut.shape[1],) * 2)
            self.total += cut.sum(0)
            self.products += cut.T @ cut
            self.squares += len(cut)

    def pixels(self) -> Pixels | None:
        """Return the spaces; None without an image."""
        if self.total is None or self.products is None:
            return None
        by_class = [np.stack(self.rows[label]).astype(np.float64) for label in sorted(self.rows)]
        whole = Basis.of_moments(self.total, self.products, self.squares, KEPT)
        predictions = tuple(predicting.prediction() for predicting in self.predicting)
        return Pixels(whole, tuple(Basis.of(rows, KEPT_OF_CLASS) for rows in by_class), predictions)
