"""Images that are read, resized, chosen or checked when they are indexed: they may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from effpath.errors import InputError
from effpath.images.arrays import resize_to
from effpath.images.format import PictureFormat, PixelRange
from effpath.images.picture import read_picture

_ROUNDING = 1e-6  # of scaling


class Images(Protocol):
    """Images [N, C, H, W], in memory (a tensor) or made when they are indexed (`LazyImages`)."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Return some of the images, float32 [n, C, H, W]."""


@dataclass(frozen=True, eq=False)
class LazyImages:
    """Images that a function makes of their rows when they are indexed.

    Attributes:
        count: number of images.
        read: from rows, int64 [n], to their images, float32 [n, C, H, W]; InputError names one that is refused.
        refused: rows, ascending, that are known to be refused before anything is read.

    Example:
        >>> len(pictures([], PictureFormat(3, 8, 8)))
        0
    """

    count: int
    read: Callable[[Tensor], Tensor]
    refused: Sequence[int] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return self.count

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return the images of a slice, indices or a mask."""
        return self.read(torch.arange(self.count)[rows])


def refused_rows(images: Images) -> Sequence[int]:
    """Return the rows, ascending, that are known to be refused before they are read."""
    return images.refused if isinstance(images, LazyImages) else ()


def refuse_known(images: Images) -> None:
    """Raise InputError for the first image that is known to be refused before it is read."""
    for row in refused_rows(images)[:1]:
        images[row : row + 1]


def pictures(files: Sequence[Path], picture_format: PictureFormat) -> LazyImages:
    """Return the images of picture files, in [0, 1]; each is opened when it is indexed."""

    def read(rows: Tensor) -> Tensor:
        found = [read_picture(files[row], picture_format) for row in rows.tolist()]
        return torch.stack(found) if found else torch.zeros(0, *picture_format.shape)

    return LazyImages(len(files), read)


def choose(images: Images, rows: Tensor) -> Images:
    """Return the images of some rows, int64 [n], in their order; none is read that is not in memory."""
    if isinstance(images, Tensor):
        return images[rows]
    refused = torch.isin(rows, torch.tensor(refused_rows(images), dtype=torch.int64)).nonzero()[:, 0]
    return LazyImages(len(rows), lambda inner: images[rows[inner]], refused.tolist())


def join(parts: Sequence[Images]) -> LazyImages:
    """Return the images of one or more parts, all of one shape, concatenated; each part is read as a whole."""
    ends = torch.tensor([len(part) for part in parts]).cumsum(0)
    starts = [0, *ends.tolist()]

    def read(rows: Tensor) -> Tensor:
        if not len(rows):
            return parts[0][:0]
        part_of = torch.searchsorted(ends, rows, right=True)
        places, found = [], []
        for part in sorted(set(part_of.tolist())):
            places.append((part_of == part).nonzero()[:, 0])
            found.append(parts[part][rows[places[-1]] - starts[part]])
        return torch.cat(found)[torch.cat(places).argsort()]

    refused = [start + row for start, part in zip(starts, parts, strict=False) for row in refused_rows(part)]
    return LazyImages(starts[-1], read, refused)


def checked(images: Tensor, names: Sequence[str], pixel_range: PixelRange | None) -> Images:
    """Return images [N, C, H, W] that refuse, when read, those that hold NaN or leave the range of the pixels.

    Where none does these are the images themselves. Without a range only NaN and infinity are refused; the
    error calls an image by its name.
    """
    low, high = images.flatten(1).aminmax(dim=1) if images.numel() else (images.new_zeros(len(images)),) * 2
    if pixel_range is None:
        taken = low.isfinite() & high.isfinite()
    else:
        taken = (low >= pixel_range[0] - _ROUNDING) & (high <= pixel_range[1] + _ROUNDING)  # NaN is neither

    def read(rows: Tensor) -> Tensor:
        for row in rows[~taken[rows]][:1].tolist():
            raise InputError(_refusal(images[row], names[row]))
        return images[rows]

    refused: list[int] = (~taken).nonzero()[:, 0].tolist()
    return LazyImages(len(images), read, refused) if refused else images


def prepared(
    images: Tensor,
    names: Sequence[str],
    pixel_range: PixelRange | None,
    picture_format: PictureFormat | None,
    source: str,
) -> Images:
    """Return images that are `checked`, and that `resize_to` brings to a format, when they are read.

    Raises:
        InputError: images of this shape do not fit the format; names the source.
    """
    found = checked(images, names, pixel_range)
    if picture_format is None or tuple(images.shape[1:]) == picture_format.shape:
        return found
    resize_to(images[:1], picture_format, source)  # what does not fit is refused here, not hours later
    return LazyImages(len(found), lambda rows: resize_to(found[rows], picture_format, source), refused_rows(found))


def tolerant(images: Images) -> tuple[LazyImages, dict[int, str]]:
    """Return images in which unreadable ones are black, so that one damaged file does not stop the others.

    The second result says why, by row; it grows as images are read. Reading raises InputError where no image
    at all can be read.

    Example:
        >>> images, damaged = tolerant(checked(torch.tensor([[[[0.5]]], [[[9.0]]]]), ["a", "b"], (0, 1)))
        >>> images[:].flatten().tolist(), list(damaged)
        ([0.5, 0.0], [1])
    """
    damaged: dict[int, str] = {}

    def read_one(row: int) -> Tensor | None:
        if row not in damaged:
            try:
                return images[row : row + 1][0]
            except InputError as error:
                damaged[row] = str(error)
        return None

    def read(rows: Tensor) -> Tensor:
        if damaged.keys().isdisjoint(rows.tolist()):
            try:
                return images[rows]
            except InputError:
                pass  # read them one by one
        found = [read_one(row) for row in rows.tolist()]
        whole = next((image for image in found if image is not None), None)
        if whole is None:
            whole = next((image for image in map(read_one, range(len(images))) if image is not None), None)
        if whole is None:
            raise InputError(f"none of {len(images)} images can be read: {damaged[0]}")
        return torch.stack([torch.zeros_like(whole) if image is None else image for image in found])

    return LazyImages(len(images), read), damaged


def _refusal(image: Tensor, name: str) -> str:
    """Return the message for an image that is not taken."""
    wrong = int((~image.isfinite()).sum())
    if wrong:
        return (
            f"expected numbers as pixels, got NaN or infinity as {wrong} of the {image.numel()} values of {name}; "
            "find out where it comes from, or leave that image out"
        )
    low, high = float(image.min()), float(image.max())
    advice = (
        "divide 0 … 255 by 255, and leave preprocessing to the model"
        if low >= 0
        else "leave preprocessing to the model, or give a model that takes preprocessed arrays pixel_range = None"
    )
    return f"expected images in [0, 1], or uint8, got {low:g} to {high:g} in {name}; {advice}"
