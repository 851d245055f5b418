"""Input transformations as detectors: does the network change its mind about the changed image? (Table 2)

Defences of others that the paper compares with: JPEG and bit depth (Guo et al., ICLR 2018; Xu et al., 2018), total
variation (Guo et al.), random resizing and padding (Xie et al., ICLR 2018). They repair an image; a detector
asks whether the answer for it is another one.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from effpath.errors import InputError, MissingExtraError
from effpath.graph import Graph
from rivals.activations import Floats, logits, probabilities
from rivals.squeezing import reduce_bits

Change = Callable[[Tensor], Tensor]


def jpeg(images: Tensor, quality: int = 75) -> Tensor:
    """Compress and open again images [N, C, H, W] of one channel or three."""
    if images.shape[1] not in (1, 3):
        raise InputError(f"expected images of 1 or 3 channels for JPEG, got {images.shape[1]}")
    found = []
    for pixels in (images.clamp(0, 1) * 255).round().byte().cpu().numpy():
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        opened = np.asarray(Image.open(file), dtype=np.float32) / 255
        found.append(opened[None] if len(pixels) == 1 else opened.transpose(2, 0, 1))
    return torch.from_numpy(np.stack(found)).to(images)


def total_variation(images: Tensor, weight: float = 0.1) -> Tensor:
    """Smooth images [N, C, H, W] by Chambolle's total variation; needs scikit-image."""
    from skimage.restoration import denoise_tv_chambolle

    found = [denoise_tv_chambolle(image, weight=weight, channel_axis=0) for image in images.cpu().numpy()]
    return torch.from_numpy(np.stack(found)).to(images)


def resize_and_pad(images: Tensor, side: float, top: float, left: float) -> Tensor:
    """Shrink images [N, C, H, W] to a share ``side`` of their size; put them on black, at shares of the room."""
    height, width = images.shape[2:]
    small = max(1, round(height * side)), max(1, round(width * side))
    resized = functional.interpolate(images, small, mode="bilinear", align_corners=False, antialias=True)
    above, before = round((height - small[0]) * top), round((width - small[1]) * left)
    return functional.pad(resized, (before, width - small[1] - before, above, height - small[0] - above))


def total_variations(seed: int) -> Sequence[Change]:
    """Raise MissingExtraError without scikit-image, which this project does not depend on."""
    if importlib.util.find_spec("skimage") is None:
        raise MissingExtraError(
            "total variation needs scikit-image, which is not installed; pip install scikit-image"
        )
    return (total_variation,)


def resizes(seed: int, draws: int = 10) -> Sequence[Change]:
    """Draw sides of 0.85 to 1; Xie et al. enlarge, by up to 1.11, but our graph takes images of one size."""
    drawn = np.random.default_rng(seed).uniform((0.85, 0, 0), 1, size=(draws, 3))
    return [partial(resize_and_pad, side=side, top=top, left=left) for side, top, left in drawn]


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
        predicted = logits(self.graph, images).argmax(1)[:, None]
        changed = np.mean([probabilities(self.graph, change(images)) for change in self.changes], axis=0)
        kept = np.take_along_axis(changed, predicted, axis=1)[:, 0]
        np.put_along_axis(changed, predicted, -np.inf, axis=1)
        return changed.max(1) - kept
