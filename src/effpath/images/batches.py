"""Images that are read, scaled, chosen or checked when they are indexed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from effpath.errors import InputError
from effpath.images.arrays import fit
from effpath.images.format import PictureFormat, PixelRange
from effpath.images.picture import read_picture

_ROUNDING = 1e-6  # of scaling


class Images(Protocol):
    """Images [N, C, H, W], in memory (a tensor) or read as they are indexed (`Pictures`)."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Return some of the images, float32 [n, C, H, W]."""


class Pictures:
    """Picture files that are read when they are indexed, so that a folder may be larger than memory.

    Example:
        >>> len(Pictures([], PictureFormat(3, 8, 8)))
        0
    """

    def __init__(self, files: Sequence[Path], picture_format: PictureFormat) -> None:
        """Name the files; nothing is opened yet."""
        self.files, self.picture_format = tuple(files), picture_format

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.files)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Read some pictures, float32 [n, C, H, W] in [0, 1]; InputError names one that is damaged."""
        chosen = indices(rows, len(self))
        if not chosen:
            return torch.zeros(0, *self.picture_format.shape)
        return torch.stack([read_picture(self.files[i], self.picture_format) for i in chosen])


class Fitted:
    """Images in memory that are brought to a format when they are indexed."""

    def __init__(self, images: Images, picture_format: PictureFormat, source: str) -> None:
        """Keep the images [N, C, H, W] as they are; ``source`` names them in messages."""
        self.images, self.picture_format, self.source = images, picture_format, source

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return some images in the format."""
        return fit(self.images[rows], self.picture_format, self.source)


class Chosen:
    """Some of other images, in the order of ``rows``; read when they are indexed."""

    def __init__(self, images: Images, rows: Tensor) -> None:
        """Keep the rows, int64 [n]."""
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Read some images."""
        return self.images[self.rows[rows]]


class Joined:
    """Images of one shape, one after the other; read when they are indexed."""

    def __init__(self, parts: Sequence[Images]) -> None:
        """Keep one or more parts."""
        self.parts = tuple(parts)
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    def __len__(self) -> int:
        """Number of images."""
        return int(self._ends[-1])

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Read some images, each part at once."""
        chosen = torch.arange(len(self))[rows]
        if not len(chosen):
            return self.parts[0][:0]
        owner = torch.searchsorted(self._ends, chosen, right=True)
        found: list[Tensor | None] = [None] * len(chosen)
        for part in sorted(set(owner.tolist())):
            own = (owner == part).nonzero()[:, 0]
            first = int(self._ends[part]) - len(self.parts[part])
            for place, image in zip(own.tolist(), self.parts[part][chosen[own] - first], strict=True):
                found[place] = image
        return torch.stack([image for image in found if image is not None])


class Checked:
    """Images in memory; those that hold NaN or leave the range of a network's pixels are refused when read.

    Attributes:
        refused: the rows of these, ascending.
    """

    def __init__(self, images: Tensor, names: Sequence[str], pixel_range: PixelRange | None) -> None:
        """Look at images [N, C, H, W] with these names; without a range only NaN and infinity are refused."""
        self.images, self.names = images, names
        low, high = images.flatten(1).aminmax(dim=1) if images.numel() else (images.new_zeros(len(images)),) * 2
        if pixel_range is None:
            taken = low.isfinite() & high.isfinite()
        else:
            taken = (low >= pixel_range[0] - _ROUNDING) & (high <= pixel_range[1] + _ROUNDING)  # NaN is neither
        self.refused: list[int] = (~taken).nonzero()[:, 0].tolist()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return some images; InputError names the first that is refused, and says why."""
        refused = set(self.refused)
        wrong = next((row for row in indices(rows, len(self)) if row in refused), None)
        if wrong is not None:
            raise InputError(_refusal(self.images[wrong], self.names[wrong]))
        return self.images[rows]


def checked(images: Tensor, names: Sequence[str], pixel_range: PixelRange | None) -> Images:
    """Return the images themselves where all are numbers in the range, else what refuses those that are not."""
    found = Checked(images, names, pixel_range)
    return found if found.refused else images


def refuse_known(images: Images) -> None:
    """Raise InputError for an image of which it is known before it is read that it is refused: one in memory."""
    if isinstance(images, Checked) and images.refused:
        images[images.refused[0] : images.refused[0] + 1]
    elif isinstance(images, Fitted):
        refuse_known(images.images)
    elif isinstance(images, Joined):
        for part in images.parts:
            refuse_known(part)


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


class Tolerant:
    """Images of which those that cannot be read come out black, so that one of them does not cost the others.

    Attributes:
        damaged: why, by row; grows as images are read.

    Example:
        >>> images = Tolerant(checked(torch.tensor([[[[0.5]]], [[[9.0]]]]), ["a", "b"], (0, 1)))
        >>> images[:].flatten().tolist(), list(images.damaged)
        ([0.5, 0.0], [1])
    """

    def __init__(self, images: Images) -> None:
        """Keep the images."""
        self.images = images
        self.damaged: dict[int, str] = {}

    def __len__(self) -> int:
        """Number of images, damaged ones too."""
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return some images; InputError where all images are damaged."""
        chosen = indices(rows, len(self))
        if self.damaged.keys().isdisjoint(chosen):
            try:
                return self.images[torch.tensor(chosen, dtype=torch.int64)]
            except InputError:
                pass  # read them one by one
        found = [self._read(i) for i in chosen]
        whole = next((image for image in found if image is not None), None)
        if whole is None:
            whole = next((image for image in map(self._read, range(len(self))) if image is not None), None)
        if whole is None:
            raise InputError(f"none of {len(self)} images can be read: {self.damaged[0]}")
        return torch.stack([torch.zeros_like(whole) if image is None else image for image in found])

    def _read(self, row: int) -> Tensor | None:
        if row not in self.damaged:
            try:
                return self.images[row : row + 1][0]
            except InputError as error:
                self.damaged[row] = str(error)
        return None


def indices(rows: slice | Tensor, length: int) -> list[int]:
    """Return what a slice, a mask or indices choose of ``length`` things, as a list."""
    return torch.arange(length)[rows].tolist()
