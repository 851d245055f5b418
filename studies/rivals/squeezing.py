"""Feature squeezing (Xu, Evans, Qi, NDSS 2018): does the answer change when the image is made simpler?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import median_filter
from torch import Tensor

from effpath.graph import Graph
from rivals.activations import Floats, probabilities


def reduce_bits(images: Tensor, bits: int) -> Tensor:
    """Round pixels in [0, 1] to 2^bits equal steps."""
    steps = 2**bits - 1
    return (images * steps).round() / steps


def median(images: Tensor, side: int) -> Tensor:
    """Give each pixel of [N, C, H, W] the median of the square around it, the border mirrored."""
    filtered = median_filter(images.cpu().numpy(), size=(1, 1, side, side), mode="reflect")
    return torch.from_numpy(filtered).to(images)


@dataclass(frozen=True, eq=False)
class FeatureSqueezing:
    """Suspicion [N]: the largest L1 distance of the softmax from that of the squeezed image, over the squeezers.

    The squeezers are the paper's: 1 bit a pixel for grey images and 5 for colours, and a 2×2 median. Its third
    for colours, non-local means (OpenCV or scikit-image have it), is left out. ART has the squeezers as
    ``SpatialSmoothing`` and ``FeatureSqueezing``, without the detector.
    """

    graph: Graph
    squeezers: tuple[Callable[[Tensor], Tensor], ...]

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> FeatureSqueezing:
        """Choose the squeezers; nothing is learnt."""
        bits = 1 if graph.input_shape[0] == 1 else 5
        return cls(graph, (lambda x: reduce_bits(x, bits), lambda x: median(x, 2)))

    def measure(self, images: Tensor) -> Floats:
        before = probabilities(self.graph, images)
        after = [probabilities(self.graph, squeeze(images)) for squeeze in self.squeezers]
        return np.max([np.abs(before - own).sum(1) for own in after], axis=0)
