"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from effpath.data.dataset import Dataset, Part
from effpath.errors import InputError
from effpath.images import PictureFormat


def digits(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """scikit-learn's digits; ``argument`` is the side in pixels, 8 where empty."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if argument and not (argument.isdecimal() and int(argument) >= 4):
        raise InputError(
            f"expected 'digits' or 'digits:SIDE' with a side of at least 4 pixels; got 'digits:{argument}'"
        )
    raw = load_digits()
    images = torch.from_numpy(raw.images.astype(np.float32) / 16).unsqueeze(1)  # [1797, 1, 8, 8]
    labels = torch.from_numpy(raw.target.astype(np.int64))
    if argument and int(argument) != 8:
        size = (int(argument), int(argument))
        images = functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.4, stratify=labels.numpy(), random_state=seed
    )
    return Dataset(
        f"digits:{argument}" if argument else "digits",
        {"train": Part(images[train], labels[train]), "test": Part(images[test], labels[test])},
        tuple(map(str, range(10))),
    )
