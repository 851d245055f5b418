"""Arrays of images, resized for the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from effpath.errors import InputError
from effpath.images.format import PictureFormat, middle, scaled


def resize_to(images: Tensor, picture_format: PictureFormat | None, source: str) -> Tensor:
    """Return images [N, C, H, W] in a format: grey is repeated to RGB, the centre scaled to height and width.

    Images that have the format already, or for which there is none, are returned unchanged.

    Raises:
        InputError: colours where the network expects grey, or another number of channels.
    """
    if picture_format is None or tuple(images.shape[1:]) == picture_format.shape:
        return images
    channels, height, width = picture_format.shape
    if not images.numel():
        raise InputError(f"expected images, got none in {source}, an array of shape {tuple(images.shape)}")
    if images.shape[1] not in (1, channels):
        raise InputError(
            f"expected images of {channels} channels, as the network takes them, got {images.shape[1]} in "
            f"{source}; convert them, or choose another model"
        )
    images = images.expand(-1, channels, -1, -1)
    if tuple(images.shape[2:]) == (height, width):
        return images
    plain = PictureFormat(channels, height, width)
    top, left, bottom, right = middle(images.shape[2], images.shape[3], plain)
    images = images[:, :, top:bottom, left:right]
    size, (top, left) = scaled(images.shape[2], images.shape[3], plain)
    images = functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
    return images[:, :, top : top + height, left : left + width]


def as_pixels(array: Any, source: str) -> Tensor:
    """Return the images, float32 [N, C, H, W], of an array [N, C, H, W] or [N, H, W, C].

    Floats are kept, uint8 is divided by 255. The channels are the last dimension if it is 1 or 3 and the second
    is neither.
    """
    if array.ndim != 4 or not (array.dtype.kind == "f" or array.dtype == np.uint8):
        raise InputError(
            f"expected float or uint8 images [N, C, H, W] or [N, H, W, C] in {source}, got {array.dtype} "
            f"{array.shape}" + "; divide them by 65535" * (array.dtype == np.uint16)
        )
    if array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = np.moveaxis(array, 3, 1)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, and are refused as such
        pixels = array.astype(np.float32, order="C")
    if array.dtype == np.uint8:
        pixels /= 255
    return torch.from_numpy(pixels)


def read_array(file: Path) -> tuple[Tensor, Any]:
    """Return the images in a file, and the array of their labels, if any."""
    labels = None
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        else:
            keys = list(loaded)
            key = "images" if "images" in keys else keys[0]
            if len(keys) > 1 and key != "images":
                raise InputError(f"expected an array named 'images' in {file}, got {', '.join(keys)}")
            array = loaded[key]
            labels = loaded["labels"] if "labels" in keys else None
    except (OSError, ValueError, EOFError, IndexError, BadZipFile) as error:
        raise InputError(f"cannot read an array from {file}: {error}; write it again with numpy.save") from error
    return as_pixels(array, str(file)), labels


def whole_labels(labels: Any, count: int, file: Path) -> list[int]:
    """Return the labels of the images in a file, −1 if it has none; InputError unless one integer each."""
    if labels is None:
        return [-1] * count
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise InputError(
            f"expected one integer label for each of {count} images in {file}, got {labels.dtype} {labels.shape}"
        )
    return list(map(int, labels))
