"""What clean images look like, for signs that compare an image with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.detect.signs.pixels import Pixels

Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Reference:
    """What was collected from clean images, by the class that the network predicts for them.

    Attributes:
        classes: int64 [C], ascending: the classes that were met.
        images: int64 [C], how many images of each were counted, at most 65 535.
        counts: by layer of a `Sample`, uint16 [C, neurons]: in the forward sets of how many images of the class
            each of its neurons is; no layer where no sign asks for them.
        shares: float32 [n, channels], `neighbours.channel_shares` of some of the images; [0, 0] where none asks.
        labels: int64 [n], their classes.
        pixels: what is known of the pixels of some of the images; None where no sign asks for them.
        own: whether they are the images that the detector was fitted on.
    """

    classes: NDArray[np.int64]
    images: NDArray[np.int64]
    counts: Mapping[str, NDArray[np.uint16]]
    shares: NDArray[np.float32]
    labels: NDArray[np.int64]
    pixels: Pixels | None = None
    own: bool = False

    @cached_property
    def forward(self) -> dict[str, Bits]:
        """By layer, packed bits, lowest first, uint8 [C, ⌈neurons ÷ 8⌉]: in the set of one image of the class."""
        return self._met(1)

    @cached_property
    def twice(self) -> dict[str, Bits]:
        """The same, of at least two images: what is left of `forward` for any of the images themselves."""
        return self._met(2)

    def _met(self, times: int) -> dict[str, Bits]:
        return {
            name: np.packbits(counted >= times, axis=1, bitorder="little") for name, counted in self.counts.items()
        }

    @cached_property
    def logs(self) -> dict[str, NDArray[np.float32]]:
        """By layer, the log of the share of a class's images that have a neuron, float32 [neurons, C].

        It is of (count + ½) ÷ (images + 1), so that it is finite.
        """
        return {
            name: np.log((counted.T + 0.5) / (self.images + 1.0)).astype(np.float32, order="C")
            for name, counted in self.counts.items()
        }

    def logs_without_one(self, name: str, place: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what `logs` has of some neurons in a class, [ids], without one image that has all of them."""
        counted = self.counts[name][place, ids].astype(np.float64) - 1
        logs: NDArray[np.float64] = np.log((counted + 0.5) / self.images[place])
        return logs

    def places(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where classes [B] stand among `classes`, −1 for those that were not met."""
        if not len(self.classes):
            return np.full(len(labels), -1)
        at = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        places: NDArray[np.int64] = np.where(self.classes[at] == labels, at, -1)
        return places

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a file holds of it, by name."""
        layers = {f"counts/{name}": counted for name, counted in self.counts.items()}
        pixels = {} if self.pixels is None else self.pixels.arrays
        plain: dict[str, NDArray[Any]] = {
            "classes": self.classes,
            "images": self.images,
            "shares": self.shares,
            "labels": self.labels,
        }
        return {**plain, **layers, **{f"pixels/{name}": array for name, array in pixels.items()}}
