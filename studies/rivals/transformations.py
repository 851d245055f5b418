"""Input transformations as detectors: does the network change its mind about the changed image? (Table 2)

Defences of others that the paper compares with: JPEG and bit depth (Guo et al., ICLR 2018; Xu et al., 2018), total
variation (Guo et al.), random resizing and padding (Xie et al., ICLR 2018). They repair an image; a detector
asks whether the answer for it is another one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from effpath.detect.signs.bit_depth import reduce_bits
from effpath.detect.signs.disagreement import Change, disagreement
from effpath.detect.signs.jpeg import jpeg
from effpath.detect.signs.resize_and_pad import resizes
from effpath.errors import MissingExtraError
from effpath.graph import Graph
from rivals.activations import Floats, logits, probabilities


def total_variation(images: Tensor, weight: float = 0.1) -> Tensor:
    """Smooth images [N, C, H, W] by Chambolle's total variation; needs scikit-image."""
    from skimage.restoration import denoise_tv_chambolle

    found = [denoise_tv_chambolle(image, weight=weight, channel_axis=0) for image in images.cpu().numpy()]
    return torch.from_numpy(np.stack(found)).to(images)


def total_variations(seed: int) -> Sequence[Change]:
    """Raise MissingExtraError without scikit-image, which this project does not depend on."""
    if importlib.util.find_spec("skimage") is None:
        raise MissingExtraError(
            "total variation needs scikit-image, which is not installed; pip install scikit-image"
        )
    return (total_variation,)


CHANGES: dict[str, Callable[[int], Sequence[Change]]] = {  # from a seed
    "JPEG": lambda seed: (jpeg,),
    "bit depth": lambda seed: (partial(reduce_bits, bits=3),),  # Guo et al.'s
    "total variation": total_variations,
    "resize and pad": resizes,
}


@dataclass(frozen=True, eq=False)
class Disagreement:
    """Suspicion [N]: by how much another class beats the network's own one on the changed images; > 0 = disagrees.

    The softmax is the mean over the changes. Several changes are the random draws of one transformation, the
    same for every image, so that an image's score depends on no other one.
    """

    graph: Graph
    changes: Sequence[Change]

    @classmethod
    def fit(cls, name: str, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> Disagreement:
        """Take those of `CHANGES` that are named so; nothing is learned from the images."""
        return cls(graph, CHANGES[name](seed))

    def measure(self, images: Tensor) -> Floats:
        predicted = logits(self.graph, images).argmax(1)
        return disagreement(predicted, [probabilities(self.graph, change(images)) for change in self.changes])
