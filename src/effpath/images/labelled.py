"""Images and their labels, of whatever holds them: tensors, arrays, torch's data sets and loaders."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate, default_convert

from effpath.errors import InputError
from effpath.images.lazy import Images, LazyImages, choose
from effpath.images.picture import pixels_of


def labelled(images: Any, labels: Any = None) -> tuple[Images, Any]:
    """Return images that can be indexed, and their labels; no image of a data set is kept.

    - A tensor, an array or other images come back as they are, with the labels that are given beside them.
    - A map-style ``torch.utils.data.Dataset``, or any sequence, of (image, label, …) is read when indexed. An
      image is float [C, H, W] in [0, 1] (``transforms.ToTensor()``), without the normalisation that belongs into
      the model, or a picture of Pillow, which is turned upright and brought to [0, 1] whatever its depth.
    - Of a ``DataLoader`` the data set is read by index: the images that a pass over its sampler visits, each
      once, in the order of the data set. Batch size and shuffling do not matter.

    Args:
        images: as above.
        labels: of the images, or of the items of the data set. If not given they are what the items say: taken
            from ``dataset.targets`` where no ``target_transform`` changes those, else from reading every item
            once.

    Raises:
        InputError: no labels; an item that is not such a pair; labels that are not integers or do not fit; a
            data set without an index; a loader with its own way of making batches.

    Example:
        >>> items = [(torch.zeros(1, 8, 8), 3), (torch.ones(1, 8, 8), 5)]
        >>> labelled(items)[1]
        tensor([3, 5])
    """
    if isinstance(images, DataLoader):
        found, known = labelled(images.dataset, labels)
        rows = _visited(images)
        return choose(found, rows), torch.as_tensor(known)[rows]
    of_images = isinstance(images, (Tensor, np.ndarray, LazyImages))
    if isinstance(images, Dataset) or _are_pairs(images) or (labels is None and not of_images):
        return _labelled_items(images, labels)
    if labels is None:
        raise InputError(
            f"expected labels beside the images, one for each, got none for a {type(images).__name__}; give them, "
            "or a data set or DataLoader of (image, label)"
        )
    return images, labels


def _are_pairs(images: Any) -> bool:
    """Tell whether a list is of (image, label), rather than of images."""
    if not isinstance(images, (list, tuple)) or not images or not isinstance(images[0], (list, tuple)):
        return False
    return len(images[0]) > 1 and (isinstance(images[0][0], Tensor) or hasattr(images[0][0], "convert"))


def _visited(loader: DataLoader[Any]) -> Tensor:
    """Return the rows that a pass over a loader's sampler visits, ascending; its next pass stays as it was."""
    if loader.collate_fn not in (default_collate, default_convert):
        name = getattr(loader.collate_fn, "__name__", type(loader.collate_fn).__name__)
        raise InputError(
            f"expected a DataLoader with torch's default_collate, got one with {name}: images are read from its "
            "data set by index; let the data set do what that does, or give images and labels as tensors"
        )
    whole_batches = loader.batch_sampler is not None and loader.batch_size is None
    sampler: Any = loader.batch_sampler if whole_batches else loader.sampler
    generator = getattr(getattr(sampler, "sampler", sampler), "generator", None)
    before = None if generator is None else generator.get_state()
    with torch.random.fork_rng(devices=[]):
        rows = sorted({int(row) for row in (chain.from_iterable(sampler) if whole_batches else sampler)})
    if generator is not None:
        generator.set_state(before)
    return torch.tensor(rows, dtype=torch.int64)


def _labelled_items(dataset: Any, labels: Any) -> tuple[LazyImages, Tensor]:
    """Return the images and the labels of a data set of pairs."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise InputError(
            f"expected a map-style data set, with a length and an index, got {type(dataset).__name__}; "
            "convert a stream of pairs to a list"
        )
    stated = _stated(dataset) if labels is None else None
    if stated is not None:
        labels = stated
    if labels is None:
        labels = [_whole(_pair(dataset[i], i)[1], i) for i in range(len(dataset))]
    elif not _is_whole(labels):
        labels = [_whole(label, i) for i, label in enumerate(labels)]
    target = torch.as_tensor(labels, dtype=torch.int64)
    if target.shape != (len(dataset),):
        raise InputError(f"expected a label for each of {len(dataset)} items, got shape {tuple(target.shape)}")

    def read_one(index: int) -> Tensor:
        image, label, *_ = _pair(dataset[index], index)
        if stated is not None and _is_whole(label) and int(label) != int(target[index]):
            raise InputError(
                f"expected the label {int(target[index])} in item {index} of the data set, as its targets say, "
                f"got {int(label)}; pass the correct labels with it"
            )
        return _pixels(image, index)

    def read(rows: Tensor) -> Tensor:
        if not len(rows):
            return read_one(0)[None][:0] if len(dataset) else torch.zeros(0, 0, 0, 0)
        return torch.stack([read_one(row) for row in rows.tolist()])

    return LazyImages(len(dataset), read), target


def _stated(dataset: Any) -> Any:
    """Return the targets of a data set of torchvision's, or of a subset of one; None where items may differ."""
    if isinstance(dataset, Subset):
        targets = _stated(dataset.dataset)
        return None if targets is None else [targets[index] for index in dataset.indices]
    both = getattr(dataset, "transforms", None)  # of image and target together
    changed = getattr(dataset, "target_transform", None) or getattr(both, "target_transform", both)
    return None if changed is not None else getattr(dataset, "targets", None)


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
            f"expected an integer as the label of item {index} of the data set, got {label!r}; give the "
            "labels beside it"
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
