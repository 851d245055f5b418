"""Which images class paths were built from, so that none is taken for another's and none is counted twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def digests_of(images: Tensor, labels: Tensor) -> Digests:
    """Return a digest of each image [N, …] with its label, uint64 [N]; its first 64 bits of SHA-256."""
    flat = images.detach().cpu().contiguous().reshape(len(images), -1).view(torch.uint8).numpy()
    found = np.empty(len(images), np.uint64)
    for row, (pixels, label) in enumerate(zip(flat, labels.tolist(), strict=True)):
        digest = hashlib.sha256(pixels)
        digest.update(int(label).to_bytes(8, "little", signed=True))
        found[row] = int.from_bytes(digest.digest()[:8], "little")
    return found
