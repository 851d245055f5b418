"""Images from files: arrays (.npy, .npz) and pictures, brought to the size that a network takes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from effpath.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # Pillow's


class Images(Protocol):
    """Images [N, C, H, W], in memory (a tensor) or read as they are indexed (`Pictures`)."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Return some of the images, float32 [n, C, H, W]."""


@dataclass(frozen=True)
class PictureFormat:
    """How a network wants its images.

    Attributes:
        channels, height, width: of one image.
        resize: the short side of a picture is scaled to this many pixels before the centre is cut out; None
            scales it to what just covers height and width.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
        squash: scale both sides on their own, so that the picture loses its shape and not its border.
    """

    channels: int
    height: int
    width: int
    resize: int | None = None
    interpolation: str = "bilinear"
    squash: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


def format_of(model: Any) -> PictureFormat | None:
    """Return the format that a model names by its ``picture_format`` or ``input_size`` (C, H, W), if any."""
    named = getattr(model, "picture_format", None)
    if isinstance(named, PictureFormat):
        return named
    size = getattr(model, "input_size", None)
    if size is None:
        return None
    if not isinstance(size, Sequence) or len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise InputError(f"expected the model's input_size to be (C, H, W), got {size!r}")
    return PictureFormat(*size)


def resized(own: PictureFormat | None, size: tuple[int, int, int] | None) -> PictureFormat | None:
    """Return the format for another size; the share of a picture that is cut off stays."""
    if size is None or own is None:
        return own if size is None else PictureFormat(*size)
    resize = None if own.resize is None else own.resize * min(size[1:]) // min(own.height, own.width)
    return replace(own, channels=size[0], height=size[1], width=size[2], resize=resize)


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

    def __init__(self, images: Tensor, picture_format: PictureFormat, source: str) -> None:
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


def indices(rows: slice | Tensor, length: int) -> list[int]:
    """Return what a slice, a mask or indices choose of ``length`` things, as a list."""
    return torch.arange(length)[rows].tolist()


def load_images(
    files: Sequence[str | Path],
    picture_format: PictureFormat | None = None,
    *,
    damaged: list[str] | None = None,
    labels: list[int] | None = None,
) -> tuple[Tensor, list[str]]:
    """Return images float32 [N, C, H, W] and a name for each.

    Arrays are read by `as_pixels`; in an .npz the array ``images``, else the only one. Pictures and folders of
    pictures are read as RGB (grey where the network takes one channel), in [0, 1]. All are brought to the format,
    where it is given.

    Args:
        files: arrays, pictures, folders.
        picture_format: of the network; needed for pictures.
        damaged: takes the names of pictures that cannot be read, which are left out; None makes them errors.
        labels: takes the label of each image: from the array ``labels`` of an .npz, −1 where there is none.

    Raises:
        InputError: nothing found, an unreadable file, or images of different shapes.
    """
    parts: list[Tensor] = []
    names: list[str] = []
    known: list[int] = []
    for file in _expand(files):
        if file.suffix in (".npy", ".npz"):
            array, own = _read_array(file)
            parts.append(fit(array, picture_format, str(file)))
            names += [f"{file}[{i}]" for i in range(len(array))]
            if labels is not None:
                known += _labels(own, len(array), file)
        else:
            if picture_format is None:
                raise InputError(unknown_size(file))
            try:
                parts.append(read_picture(file, picture_format)[None])
                names.append(str(file))
                known.append(-1)
            except InputError:
                if damaged is None:
                    raise
                damaged.append(str(file))
    shapes = {tuple(part.shape[1:]) for part in parts}
    if not parts:
        raise InputError(f"none of {len(damaged or [])} pictures can be read")
    if len(shapes) > 1:
        raise InputError(f"expected images of one shape, got {', '.join(map(str, sorted(shapes)))}")
    if labels is not None:
        labels += known
    return torch.cat(parts), names


def unknown_size(source: object) -> str:
    """Return the message for pictures without a format."""
    return (
        f"the size of {source} for the network is not known; give --input-size C,H,W, or an "
        "input_size attribute to the model"
    )


def fit(images: Tensor, picture_format: PictureFormat | None, source: str) -> Tensor:
    """Bring images [N, C, H, W] to a format: grey is repeated to RGB, the centre scaled to height and width.

    Images that have the format already, or for which there is none, come back as they are.

    Raises:
        InputError: colours where the network takes grey, or another number of channels.
    """
    if picture_format is None or tuple(images.shape[1:]) == picture_format.shape:
        return images
    channels, height, width = picture_format.shape
    if images.shape[1] not in (1, channels):
        raise InputError(
            f"expected images of {channels} channels, as the network takes them, got {images.shape[1]} in "
            f"{source}; convert them, or name another model"
        )
    images = images.expand(-1, channels, -1, -1)
    if tuple(images.shape[2:]) == (height, width):
        return images
    size, (top, left) = _scaled(images.shape[2], images.shape[3], PictureFormat(channels, height, width))
    images = functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
    return images[:, :, top : top + height, left : left + width]


def read_picture(file: Path, picture_format: PictureFormat) -> Tensor:
    """Read one picture as the network wants it, float32 [C, H, W] in [0, 1].

    Size, crop and rounding are those of torchvision's and timm's own evaluation transforms.

    Raises:
        InputError: the file is damaged or no picture.
    """
    channels, height, width = picture_format.shape
    try:
        with Image.open(file) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB")
    except _BROKEN as error:
        raise InputError(
            f"cannot read the picture {file}: {error}; it is damaged or no picture: replace it, or leave it out"
        ) from error
    (rows, columns), (top, left) = _scaled(picture.height, picture.width, picture_format)
    if (columns, rows) != picture.size:
        picture = picture.resize((columns, rows), Image.Resampling[picture_format.interpolation.upper()])
    array = np.asarray(picture.crop((left, top, left + width, top + height)), dtype=np.float32) / 255
    return torch.from_numpy(array.reshape(height, width, -1).transpose(2, 0, 1).copy())


def _scaled(rows: int, columns: int, wanted: PictureFormat) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (rows, columns) to scale to, and the corner (top, left) of the centre to cut out of that."""
    if wanted.squash:
        side = min(wanted.height, wanted.width)
        enlarged = wanted.resize or side
        size = wanted.height * enlarged // side, wanted.width * enlarged // side
    elif wanted.resize is None:
        scale = max(wanted.height / rows, wanted.width / columns)
        size = max(wanted.height, round(rows * scale)), max(wanted.width, round(columns * scale))
    else:
        short = min(rows, columns)
        size = wanted.resize * rows // short, wanted.resize * columns // short
        size = max(wanted.height, size[0]), max(wanted.width, size[1])
    return size, (round((size[0] - wanted.height) / 2), round((size[1] - wanted.width) / 2))


def _expand(files: Sequence[str | Path]) -> list[Path]:
    found: list[Path] = []
    for name in files:
        path = Path(name)
        if path.is_dir():
            inside = pictures_below(path)
            if not inside:
                raise InputError(f"no pictures ({', '.join(PICTURES)}) in the folder {path}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"no file or folder {path}")
    if not found:
        raise InputError("expected at least one image, got none")
    return found


def pictures_below(folder: Path) -> list[Path]:
    """Return the picture files in a folder and the folders in it, sorted."""
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in PICTURES and f.is_file())


def _read_array(file: Path) -> tuple[Tensor, Any]:
    """Return the images of a file, and the array of their labels, if any."""
    own = None
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        else:
            keys = list(loaded)
            key = "images" if "images" in keys else keys[0]
            if len(keys) > 1 and key != "images":
                raise InputError(f"expected an array named 'images' in {file}, got {', '.join(keys)}")
            array = loaded[key]
            own = loaded["labels"] if "labels" in keys else None
    except (OSError, ValueError, EOFError, IndexError, BadZipFile) as error:
        raise InputError(f"cannot read an array from {file}: {error}; write it again with numpy.save") from error
    return as_pixels(array, str(file)), own


def _labels(own: Any, count: int, file: Path) -> list[int]:
    """Return the labels of a file's images; InputError where they are not one integer each."""
    if own is None:
        return [-1] * count
    if own.dtype.kind not in "iu" or own.shape != (count,):
        raise InputError(
            f"expected one integer label for each of {count} images in {file}, got {own.dtype} {own.shape}"
        )
    return list(map(int, own))


def as_pixels(array: Any, source: str) -> Tensor:
    """Return images float32 [N, C, H, W] of an array [N, C, H, W] or [N, H, W, C].

    Floats stay, uint8 is divided by 255. The last dimension is the channels where it is 1 or 3 and the second is
    neither.
    """
    if array.ndim != 4 or not (array.dtype.kind == "f" or array.dtype == np.uint8):
        raise InputError(
            f"expected float or uint8 images [N, C, H, W] or [N, H, W, C] in {source}, got {array.dtype} "
            f"{array.shape}"
        )
    if array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = np.moveaxis(array, 3, 1)
    pixels = array.astype(np.float32, order="C") / (255 if array.dtype == np.uint8 else 1)
    return torch.from_numpy(pixels)
