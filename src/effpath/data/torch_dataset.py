"""Any torch data set of (image, label) pairs, as a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effpath.data.dataset import Part
from effpath.errors import InputError
from effpath.images import indices, pixels_of


class _Items:
    """The images of a torch data set, made when they are indexed.

    ``stated`` are the labels that the data set states beside its items, [N]; an item that says another is refused.
    """

    def __init__(self, dataset: Any, stated: Tensor | None) -> None:
        self.dataset, self.stated = dataset, stated

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        chosen = indices(rows, len(self))
        if not chosen:
            return self[:1][:0]
        return torch.stack([self._image(i) for i in chosen])

    def _image(self, index: int) -> Tensor:
        image, label, *_ = _pair(self.dataset[index], index)
        if self.stated is not None and _is_whole(label) and int(label) != int(self.stated[index]):
            raise InputError(
                f"expected the label {int(self.stated[index])} in item {index} of the data set, as its targets "
                f"say, got {int(label)}; give from_torch the labels that are right"
            )
        return _pixels(image, index)


def from_torch(dataset: Any, labels: Sequence[int] | Tensor | None = None) -> Part:
    """Return a map-style ``torch.utils.data.Dataset`` of (image, label) as a part, read when indexed.

    An image is float [C, H, W] in [0, 1] (``transforms.ToTensor()``), without the normalisation that belongs
    into the model, or a picture of Pillow, which is turned upright and brought to [0, 1] whatever its depth.

    Args:
        dataset: has a length and gives (image, label, …) for an index.
        labels: of the items. If not given they are what the items say: taken from ``dataset.targets`` where no
            ``target_transform`` changes those, else from reading every item once.

    Raises:
        InputError: an item is no such pair, or the labels are no whole numbers or do not fit.

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
    given = labels is not None
    if labels is None and _targets_are_final(dataset):
        labels = getattr(dataset, "targets", None)
    stated = labels is not None and not given
    if labels is None:
        labels = [_whole(_pair(dataset[i], i)[1], i) for i in range(len(dataset))]
    elif not _is_whole(labels):
        labels = [_whole(label, i) for i, label in enumerate(labels)]
    target = torch.as_tensor(labels, dtype=torch.int64)
    if target.shape != (len(dataset),):
        raise InputError(f"expected a label for each of {len(dataset)} items, got shape {tuple(target.shape)}")
    return Part(_Items(dataset, target if stated else None), target)


def _targets_are_final(dataset: Any) -> bool:
    """Tell whether nothing is known to change the targets of a data set of torchvision's on their way to items."""
    both = getattr(dataset, "transforms", None)  # of image and target together
    return getattr(dataset, "target_transform", None) is None and (
        both is None or getattr(both, "target_transform", both) is None
    )


def _pair(item: Any, index: int) -> Any:
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(f"expected (image, label) as item {index} of the data set, got {type(item).__name__}")
    return item


def _is_whole(label: Any) -> bool:
    """Tell whether a label, or an array of them, is of whole numbers."""
    if isinstance(label, Tensor):
        return not label.is_floating_point() and not label.is_complex()
    return isinstance(label, int) or (isinstance(label, (np.ndarray, np.generic)) and label.dtype.kind in "iub")


def _whole(label: Any, index: int) -> int:
    if not _is_whole(label) or (isinstance(label, (Tensor, np.ndarray)) and label.ndim > 0):
        raise InputError(
            f"expected a whole number as the label of item {index} of the data set, got {label!r}; give "
            "from_torch the labels"
        )
    return int(label)


def _pixels(image: Any, index: int) -> Tensor:
    if hasattr(image, "convert"):  # a picture
        try:
            image = pixels_of(image)
        except InputError as error:
            raise InputError(f"cannot read the picture of item {index} of the data set: {error}") from error
    if not isinstance(image, Tensor) or image.dim() != 3 or not image.is_floating_point():
        what = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"expected a float image [C, H, W] in item {index} of the data set, got {what}")
    return image.float()
