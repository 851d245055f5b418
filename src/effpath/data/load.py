"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from effpath.data.cifar import cifar10, cifar100
from effpath.data.dataset import Dataset
from effpath.data.digits import digits, mnist
from effpath.data.folder import image_folder
from effpath.data.npz import npz
from effpath.errors import InputError
from effpath.images import PictureFormat, prepared

Reader = Callable[[str, int, PictureFormat | None], Dataset]


def load_data(
    spec: str,
    *,
    seed: int = 0,
    picture_format: PictureFormat | None = None,
    pixel_range: tuple[float, float] | None = (0.0, 1.0),
) -> Dataset:
    """Return the data set that ``spec``, "scheme" or "scheme:argument", names.

    - ``digits``: scikit-learn's 1797 handwritten digits, 8×8, 60 % of each class for training, drawn by
      ``seed``; ``digits:28`` resizes them (bilinear) to 28×28.
    - ``mnist:DIR``: the four original IDX files, plain or .gz, in DIR, DIR/raw or DIR/MNIST/raw.
    - ``cifar10:DIR``, ``cifar100:DIR``: the original Python batches in DIR or in the folder of their archive,
      read without running code; or one lossless sheet of tiles per class, DIR/train/00_airplane.webp.
    - ``imagefolder:DIR``: DIR/train, DIR/val, DIR/test with one folder per class; or these class folders alone
      (``all``); or pictures with DIR/labels.csv (columns file, label). Needs ``picture_format``.
    - ``npz:FILE``: arrays train_images, train_labels, test_images, test_labels, or images, labels (``all``);
      class names in ``classes``, if given.

    Args:
        spec: as above.
        seed: of the division of ``digits``.
        picture_format: that the images are resized to; None leaves arrays as they are.
        pixel_range: an image in an array that holds other numbers, or NaN, is refused when it is read; None
            accepts all but NaN and infinity.

    Raises:
        InputError: an unknown spec, a missing folder, or pictures without a format.
        StoreError: a missing or damaged file.

    >>> load_data("digits").train_images.shape
    torch.Size([1078, 1, 8, 8])
    """
    scheme, _, argument = spec.partition(":")
    if scheme not in SCHEMES:
        raise InputError(
            f"unknown data set {spec!r}; expected one of: {', '.join(sorted(SCHEMES))} (as scheme:argument)"
        )
    read = SCHEMES[scheme](argument, seed, picture_format)
    parts = dict(read.parts)
    for name, part in read.parts.items():
        if isinstance(part.images, Tensor):
            source = f"{spec}, {name}"
            titles = part.names or [f"{source}[{i}]" for i in range(len(part))]
            images = prepared(part.images, titles, pixel_range, picture_format, source)
            parts[name] = replace(part, images=images)
    return replace(read, parts=parts)


def is_data(spec: str) -> bool:
    """Return whether a name is that of a data set, not of a file."""
    return spec.partition(":")[0] in SCHEMES


SCHEMES: dict[str, Reader] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
    "imagefolder": image_folder,
    "mnist": mnist,
    "npz": npz,
}
"""Scheme → reader(argument, seed, format); a new kind of data set is a function and a line here."""
