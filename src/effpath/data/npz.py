"""Arrays of images and labels in one .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from effpath.data.dataset import Dataset, Part
from effpath.errors import InputError, StoreError
from effpath.images import PictureFormat, as_pixels

MOST_CLASSES = 1_000_000
PREFIXES = {"train": "train_", "val": "val_", "test": "test_", "all": ""}


def npz(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """Return the labelled images in the .npz file ``argument``."""
    file = Path(argument).expanduser()
    if not argument or not file.is_file():
        raise InputError(
            f"expected 'npz:FILE', a file with arrays images and labels; there is no file {argument!r}"
        )
    try:
        with np.load(file, allow_pickle=False) as opened:
            arrays: dict[str, Any] = {name: opened[name] for name in opened.files}
    except (OSError, ValueError, EOFError, TypeError, BadZipFile) as error:
        raise StoreError(f"cannot read {file}: {error}; write it again with numpy.savez") from error
    parts = {
        part: _part(arrays[f"{prefix}images"], arrays[f"{prefix}labels"], f"{file}, {prefix}images")
        for part, prefix in PREFIXES.items()
        if f"{prefix}images" in arrays and f"{prefix}labels" in arrays
    }
    if not parts:
        raise InputError(
            f"expected arrays images and labels, or train_images, train_labels, test_images, test_labels in "
            f"{file}; it has {', '.join(arrays) or 'none'}"
        )
    count = 1 + max(int(part.labels.max()) for part in parts.values())
    classes = tuple(map(str, arrays["classes"] if "classes" in arrays else range(count)))
    if len(classes) < count:
        raise InputError(f"{file} names {len(classes)} classes, but has labels up to {count - 1}")
    return Dataset(file.stem, parts, classes)


def _part(images: Any, labels: Any, source: str) -> Part:
    pixels = as_pixels(images, source)
    if (
        labels.dtype.kind not in "iu"
        or labels.shape != (len(pixels),)
        or not len(pixels)
        or not (labels.min() >= 0 and labels.max() <= MOST_CLASSES)
    ):
        raise InputError(
            f"expected one integer label, 0 or more, for each of {len(pixels)} images in {source}, got "
            f"{labels.dtype} {labels.shape}"
        )
    return Part(pixels, torch.from_numpy(labels.astype(np.int64)))
