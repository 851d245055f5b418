"""JPEG: does the answer survive compression? (Guo et al., ICLR 2018, repair images by it)"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from effpath.detect.signs.disagreement import ChangedImage
from effpath.errors import InputError


class JPEG(ChangedImage):
    """Disagreement about the compressed image; one forward pass."""

    def __init__(self) -> None:
        """Compress at a quality of 75."""
        super().__init__("JPEG", "changes its mind after JPEG", (jpeg,))


def jpeg(images: Tensor, quality: int = 75) -> Tensor:
    """Compress and open again images [N, C, H, W] in [0, 1], of one channel or three.

    Raises:
        InputError: images of another number of channels.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"expected images [N, 1 or 3, H, W] for JPEG, got {list(images.shape)}")
    pixels = (images * 255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
        opened = np.asarray(Image.open(file))
        image[:] = opened.reshape(image.shape)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(images).div_(255)
