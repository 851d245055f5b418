"""Images, classes and numbers as callers give them: brought to one form, or refused with what to do."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from effpath.errors import EffpathError, InputError, OptionError

_SEVERAL = {"label": "labels", "class": "classes", "row": "rows"}
ALIGNED = 64  # bytes; matrix products may round in another way behind another alignment
ACTIVATION_BYTES = 384 << 20  # activations that are held at a time
TOGETHER = 256  # images of small networks


def images_within_bytes(each: int) -> int:
    """Return how many images of ``each`` bytes fit in `ACTIVATION_BYTES`, one at least."""
    return max(1, ACTIVATION_BYTES // each)


def images_together(each: int, batch_size: int | None = None) -> int:
    """Return ``batch_size``, or how many images of ``each`` bytes, up to `TOGETHER`, a forward pass takes.

    Raises:
        OptionError: a batch size below 1.
    """
    if batch_size is None:
        return min(TOGETHER, images_within_bytes(each))
    if batch_size < 1:
        raise OptionError(f"expected a batch_size of at least 1, or None for as many as fit, got {batch_size}")
    return batch_size


def plain_memory(images: Tensor) -> Tensor:
    """Return images whose elements lie in memory in their order, without gaps, as in a new tensor.

    Sums are rounded in an order that depends on how their summands lie in memory, so that the same images in
    another layout (channels last, a view, a slice, an expanded row) would give other last bits, and other sets.
    """
    images = images.contiguous()
    if images.data_ptr() % ALIGNED:
        images = images.clone()
    return images.view(-1).view(images.shape)  # one channel or row is contiguous with strange strides too


def as_images(images: Any, expected: str) -> Tensor:
    """Return images as one tensor; a list or array of equal-shaped images is stacked.

    Args:
        images: a tensor, a NumPy array, or a sequence of these, one per image.
        expected: what was expected, for messages.

    Raises:
        InputError: anything else, with how to turn it into a tensor.
    """
    if isinstance(images, Tensor):
        return images
    if isinstance(images, np.ndarray):
        return _of_array(images, expected)
    if isinstance(images, (list, tuple)) and images:
        each = [as_images(image, expected) for image in images if isinstance(image, (Tensor, np.ndarray))]
        if len(each) == len(images):
            shapes = list(dict.fromkeys(tuple(image.shape) for image in each))
            if len(shapes) > 1:
                raise InputError(
                    f"expected {expected}, got a {type(images).__name__} of shapes {shapes[0]} and {shapes[1]}; "
                    "resize them to one size first"
                )
            return torch.stack(each)
    require_images(images, expected)
    try:
        return torch.as_tensor(images)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"expected {expected}, got {_describe(images)} that is no tensor: {error}") from error


def require_images(images: Any, expected: str = "images as a tensor [N, C, H, W]") -> None:
    """Refuse what cannot be indexed by rows of images, such as a data loader or a torch data set."""
    if isinstance(images, torch.utils.data.DataLoader):
        raise InputError(
            f"expected {expected}, got a DataLoader; collect its batches: images, labels = "
            "map(torch.cat, zip(*loader)), or give it to effpath.data.from_torch, which reads its data set "
            "as it is needed"
        )
    if isinstance(images, torch.utils.data.Dataset):
        raise InputError(
            f"expected {expected}, got a data set ({type(images).__name__}); part = "
            "effpath.data.from_torch(dataset) gives part.images and part.labels, read as they are needed"
        )
    if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")) or isinstance(
        images, (str, bytes, dict)
    ):
        raise InputError(f"expected {expected}, got {_describe(images)}; give a tensor")


def as_classes(
    classes: Any,
    count: int,
    outputs: int,
    what: Literal["label", "class"] = "label",
    refuse: type[EffpathError] = InputError,
) -> Tensor:
    """Return one class for each of some images, int64 [count], on the CPU.

    Args:
        classes: integers, as a tensor, an array or a sequence.
        count: number of images.
        outputs: classes are 0 … outputs − 1.
        what, refuse: what messages call them, and the error to raise.

    Raises:
        InputError: text, fractions, another number of them, or no such class (or the error in ``refuse``).
    """
    several = _SEVERAL[what]
    expected = f"expected {count} {several} in 0 … {outputs - 1}, one {what} for each of {count} images"
    found = as_integers(classes, count, what, expected, refuse)
    if count and not 0 <= int(found.min()) <= int(found.max()) < outputs:
        raise refuse(f"{expected} (the network has {outputs} logits), got {int(found.min())} … {int(found.max())}")
    return found


def as_integers(
    values: Any,
    count: int,
    what: Literal["label", "class", "row"],
    expected: str = "",
    refuse: type[EffpathError] = InputError,
) -> Tensor:
    """Return one integer for each of some images, int64 [count], on the CPU; errors as in `as_classes`."""
    expected = expected or f"expected one {what} for each of {count} images"
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        instead = "its row in the data set" if what == "row" else "the place of its class among the logits"
        raise refuse(f"{expected}, got {_describe(values)}; give for each image {instead}") from error
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise refuse(f"{expected}, got {found.dtype}; give whole numbers, such as {_SEVERAL[what]}.long()")
    if found.shape != (count,):
        raise refuse(f"{expected}, got shape {tuple(found.shape)}")
    return found.detach().cpu().to(torch.int64)


def as_whole(value: Any, what: str, largest: int, of: str) -> int:
    """Return a whole number in 1 … largest, NumPy's among them; OptionError for anything else."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not 1 <= int(value) <= largest:
        raise OptionError(f"expected {what} as a whole number in 1 … {largest} {of}, got {value!r}")
    return int(value)


def _of_array(images: np.ndarray[Any, Any], expected: str) -> Tensor:
    native = np.ascontiguousarray(images, images.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    except TypeError as error:
        raise InputError(f"expected {expected}, got an array of {images.dtype}: {error}") from error


def _describe(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and len(value):
        return f"a {type(value).__name__} of {type(value[0]).__name__}"
    return f"{type(value).__name__}"
