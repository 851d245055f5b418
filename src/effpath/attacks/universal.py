"""A universal perturbation, read from a file and added to every image."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from effpath.attacks.spec import Settings
from effpath.errors import InputError, StoreError


def universal(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return images [N, C, H, W] plus the perturbation in ``file``, clipped to [0, 1].

    Raises:
        StoreError: the file holds no array.
        InputError: an array of another shape, type or range.
    """
    perturbation = read_perturbation(Path(settings["file"]), tuple(images.shape[1:]))
    return (images + perturbation.to(images.device)).clamp(0, 1)


def read_perturbation(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return the perturbation, float32 [C, H, W], in an .npy or an .npz of one array; it may be [1, C, H, W]."""
    try:
        found = np.load(path, allow_pickle=False)
        arrays = [found] if isinstance(found, np.ndarray) else [found[name] for name in found.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is not an .npy or .npz file of numbers: {error}") from error
    if len(arrays) != 1:
        raise InputError(f"{path}: expected one array; got {len(arrays)}. Save only the perturbation")
    (array,) = arrays
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
    return torch.from_numpy(array.astype(np.float32)).reshape(shape)
