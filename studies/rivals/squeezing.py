"""Feature squeezing (Xu, Evans, Qi, NDSS 2018): does the answer change when the image is made simpler?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.ndimage import median_filter
from torch import Tensor

from effpath.detect.signs.bit_depth import reduce_bits
from effpath.graph import Graph
from rivals.activations import Floats, batches, logits, probabilities

BORNE = 0.9  # share of clean images whose class a squeezer must leave as it is


def median(images: Tensor, side: int) -> Tensor:
    """Give each pixel of [N, C, H, W] the median of the square around it, the border mirrored."""
    filtered = median_filter(images.cpu().numpy(), size=(1, 1, side, side), mode="reflect")
    return torch.from_numpy(filtered).to(images)


@dataclass(frozen=True, eq=False)
class FeatureSqueezing:
    """Suspicion [N]: the largest L1 distance of the softmax from that of the squeezed image, over the squeezers.

    The squeezers are the paper's: fewer bits per pixel, and a 2×2 median. The paper chooses for each data set what
    clean images bear (1 bit for MNIST, 5 for colours; the median for both). Here that is a rule: the fewest bits
    with which `BORNE` of the training images, at most 1000 of them, keep their class, and the median if they
    keep it. Its third squeezer for colours, non-local means (OpenCV or scikit-image have it), is left out. ART
    has the squeezers (``FeatureSqueezing``, ``SpatialSmoothing``), without the detector.
    """

    graph: Graph
    squeezers: tuple[Callable[[Tensor], Tensor], ...]

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> FeatureSqueezing:
        """Choose the squeezers; labels are not needed."""
        drawn = images[np.random.default_rng(seed).permutation(len(images))[:1000]]
        predicted = logits(graph, drawn).argmax(1)

        def borne(squeeze: Callable[[Tensor], Tensor]) -> bool:
            """Say whether enough images keep their class; no longer look once too many have lost it."""
            lost, looked = 0, 0
            for batch in batches(graph, drawn):
                before = predicted[looked : looked + len(batch)]
                lost += int((logits(graph, squeeze(batch)).argmax(1) != before).sum())
                looked += len(batch)
                if (len(drawn) - lost) / len(drawn) < BORNE:
                    return False
            return True

        by_bits = [partial(reduce_bits, bits=bits) for bits in range(1, 9)]
        fewest = next((squeeze for squeeze in by_bits if borne(squeeze)), by_bits[-1])
        smooth = partial(median, side=2)
        return cls(graph, (fewest, smooth) if borne(smooth) else (fewest,))

    def measure(self, images: Tensor) -> Floats:
        before = probabilities(self.graph, images)
        after = [probabilities(self.graph, squeeze(images)) for squeeze in self.squeezers]
        return np.max([np.abs(before - squeezed).sum(1) for squeezed in after], axis=0)
