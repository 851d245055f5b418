"""Any torch data set of (image, label) pairs, as a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effpath.data.dataset import Part
from effpath.errors import InputError
from effpath.images import indices


class _Items:
    """The images of a torch data set, made when they are indexed."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        chosen = indices(rows, len(self))
        if not chosen:
            return self[:1][:0]
        return torch.stack([_image(self.dataset[i], i) for i in chosen])


def from_torch(dataset: Any, labels: Sequence[int] | Tensor | None = None) -> Part:
    """Return a map-style ``torch.utils.data.Dataset`` of (image, label) as a part, read when indexed.

    An image is float [C, H, W] in [0, 1] (``transforms.ToTensor()``), without the normalisation that belongs
    into the model, or a picture of Pillow.

    Args:
        dataset: has a length and gives (image, label, …) for an index.
        labels: of the items; taken from ``dataset.targets`` if not given, else from reading every item once.

    Raises:
        InputError: an item is no such pair, or the labels do not fit.

    Example:
        >>> items = [(torch.zeros(1, 8, 8), 3), (torch.ones(1, 8, 8), 5)]
        >>> from_torch(items).labels
        tensor([3, 5])
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(
            f"expected a map-style data set, with a length and an index, got {type(dataset).__name__}; "
            "make a list of a stream of pairs"
        )
    if labels is None:
        labels = getattr(dataset, "targets", None)
    if labels is None:
        labels = [int(_pair(dataset[i], i)[1]) for i in range(len(dataset))]
    target = torch.as_tensor(labels, dtype=torch.int64)
    if target.shape != (len(dataset),):
        raise InputError(f"expected a label for each of {len(dataset)} items, got shape {tuple(target.shape)}")
    return Part(_Items(dataset), target)


def _pair(item: Any, index: int) -> Any:
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(f"expected (image, label) as item {index} of the data set, got {type(item).__name__}")
    return item


def _image(item: Any, index: int) -> Tensor:
    image = _pair(item, index)[0]
    if hasattr(image, "convert"):  # a picture
        pixels = np.asarray(image, dtype=np.float32) / 255
        image = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1).copy())
    if not isinstance(image, Tensor) or image.dim() != 3 or not image.is_floating_point():
        what = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"expected a float image [C, H, W] in item {index} of the data set, got {what}")
    return image.float()
