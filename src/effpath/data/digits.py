"""Handwritten digits: those that come with scikit-learn, and MNIST from its original IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from effpath.data.dataset import Dataset, Part, folder_of
from effpath.errors import InputError, StoreError
from effpath.images import PictureFormat


def digits(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """Return scikit-learn's digits; ``argument`` is the side in pixels, 8 where empty."""
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


def mnist(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """Return MNIST from the four IDX files in or below the folder ``argument``."""
    folder = folder_of("mnist", argument, "the folder with MNIST's four IDX files")
    parts = {"train": _part(folder, "train"), "test": _part(folder, "t10k")}
    return Dataset("mnist", parts, tuple(map(str, range(10))))


def _part(folder: Path, part: str) -> Part:
    """Return images, float32 [N, 1, H, W] in [0, 1], and labels, int64 [N], of one part of MNIST."""
    image_file = _find(folder, f"{part}-images-idx3-ubyte")
    label_file = _find(folder, f"{part}-labels-idx1-ubyte")
    images = read_idx(image_file, dimensions=3)
    labels = read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise StoreError(
            f"{image_file} has {len(images)} images but {label_file} has {len(labels)} labels; get both again"
        )
    if len(labels) == 0 or labels.max() > 9:
        raise StoreError(
            f"{label_file}: expected at least one label, each 0 to 9; got {len(labels)} labels up to "
            f"{labels.max(initial=0)}; check that it is the right file"
        )
    return Part(torch.from_numpy(images).unsqueeze(1).float() / 255, torch.from_numpy(labels).long())


def _find(folder: Path, name: str) -> Path:
    """Return the file of that name, plain or .gz, in one of the usual places."""
    places = [folder, folder / "raw", folder / "MNIST" / "raw"]
    for place in places:
        for candidate in (place / name, place / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise StoreError(
        f"no file {name} or {name}.gz in any of {', '.join(map(str, places))}; "
        f"put MNIST's four IDX files there or name another folder"
    )


def read_idx(path: Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes, plain or .gz, with that many dimensions.

    Raises:
        StoreError: the magic number, the sizes or the length are not those of such a file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"cannot read {path}: {error}; get the file again") from error
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        raise StoreError(
            f"{path} is not an IDX file of bytes with {dimensions} dimensions: expected the magic "
            f"number {magic.hex()}, got {content[:4].hex() or 'an empty file'}; check that it is the "
            f"right file"
        )
    if len(content) < header:
        raise StoreError(
            f"{path} is truncated: expected a header of {header} bytes, got {len(content)}; get the file again"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise StoreError(
            f"{path} is truncated or damaged: its header announces {list(shape)}, {math.prod(shape)} bytes; "
            f"it has {len(content) - header}; get the file again"
        )
    pixels = np.array(memoryview(content)[header:], dtype=np.uint8)
    return pixels.reshape(shape)
