"""What clean images look like, for signs that compare an image with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Reference:
    """What was collected from clean images, by the class that the network predicts for them.

    Attributes:
        classes: int64 [C], ascending: the classes that were met.
        forward: by layer, packed bits, lowest first, uint8 [C, ⌈neurons ÷ 8⌉]: the neurons in the forward set of
            an image of the class; no layer where no sign asks for them.
        twice: the same, of at least two images: what is left of `forward` for any of the images themselves. Empty
            where the reference comes from a file.
        shares: float32 [n, channels], `neighbours.channel_shares` of some of the images; [0, 0] where none asks.
        labels: int64 [n], their classes.
        own: whether they are the images that the detector was fitted on.
    """

    classes: NDArray[np.int64]
    forward: Mapping[str, Bits]
    twice: Mapping[str, Bits]
    shares: NDArray[np.float32]
    labels: NDArray[np.int64]
    own: bool = False

    def places(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where classes [B] stand among `classes`, −1 for those that were not met."""
        if not len(self.classes):
            return np.full(len(labels), -1)
        at = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        places: NDArray[np.int64] = np.where(self.classes[at] == labels, at, -1)
        return places

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What a file holds of it, by name."""
        layers = {f"forward/{name}": bits for name, bits in self.forward.items()}
        return {"classes": self.classes, "shares": self.shares, "labels": self.labels, **layers}
