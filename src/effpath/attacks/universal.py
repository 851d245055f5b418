"""One perturbation for every image, read from a file."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effpath.attacks.spec import Settings
from effpath.errors import InputError, StoreError


def universal(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return images [N, C, H, W] plus the perturbation in ``file``, clipped to [0, 1].

    The file is an .npy, or an .npz of one array: floats [C, H, W] or [1, C, H, W] within ±1.

    Raises:
        StoreError: the file holds no array.
        InputError: an array of another shape, type or range.
    """
    path, shape = settings["file"], tuple(images.shape[1:])
    array = read_array(path)
    if array.dtype.kind != "f" or array.shape not in (shape, (1, *shape)):
        raise InputError(
            f"{path}: expected floats of the images' shape {list(shape)}, or with a 1 before it; got "
            f"{array.dtype} {list(array.shape)}"
        )
    if not np.abs(array).max() <= 1:  # NaN fails too
        raise InputError(
            f"{path}: expected values within ±1, as images lie in [0, 1]; got up to {np.abs(array).max():g}. "
            f"Divide a perturbation of 0 to 255 by 255"
        )
    return (images + torch.from_numpy(array.astype(np.float32)).reshape(shape).to(images.device)).clamp(0, 1)


def read_array(path: str) -> NDArray[Any]:
    """Return the array in an .npy, or the only one in an .npz.

    Raises:
        StoreError: the file holds no array.
        InputError: an .npz of several.
    """
    try:
        found = np.load(path, allow_pickle=False)
        arrays = [found] if isinstance(found, np.ndarray) else [found[name] for name in found.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is not an .npy or .npz file of numbers: {error}") from error
    if len(arrays) != 1:
        raise InputError(f"{path}: expected one array; got {len(arrays)}. Save only this one")
    array: NDArray[Any] = arrays[0]
    return array
