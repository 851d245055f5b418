"""Labelled images to try things on: ``digits`` comes with scikit-learn, ``mnist:DIR`` from a folder."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from effpath.errors import InputError, StoreError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels."""

    name: str
    train_images: torch.Tensor  # float32 [N, C, H, W] in [0, 1]
    train_labels: torch.Tensor  # int64 [N]
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]  # the name of label 0, of label 1, …


def load_data(spec: str, *, seed: int = 0) -> Dataset:
    """The data set that ``spec``, "scheme" or "scheme:argument", names.

    - ``digits``: scikit-learn's 1797 handwritten digits, 8×8, 60 % of each class for training, drawn by
      ``seed``; ``digits:28`` resizes them (bilinear) to 28×28.
    - ``mnist:DIR``: the four original IDX files, plain or .gz, in DIR, DIR/raw or DIR/MNIST/raw; ``seed`` is
      not used.

    Errors: `InputError` for an unknown spec or a missing folder, `StoreError` for a missing or damaged file.

    >>> load_data("digits").train_images.shape
    torch.Size([1078, 1, 8, 8])
    """
    scheme, _, argument = spec.partition(":")
    if scheme not in SCHEMES:
        raise InputError(
            f"unknown data set {spec!r}; wanted one of: {', '.join(sorted(SCHEMES))} (as scheme:argument)"
        )
    return SCHEMES[scheme](argument, seed)


def _digits(argument: str, seed: int) -> Dataset:
    """scikit-learn's digits; ``argument`` is the side in pixels, 8 where empty."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if argument and not (argument.isdecimal() and int(argument) >= 4):
        raise InputError(
            f"wanted 'digits' or 'digits:SIDE' with a side of at least 4 pixels; got 'digits:{argument}'"
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
        name=f"digits:{argument}" if argument else "digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=tuple(map(str, range(10))),
    )


def _mnist(argument: str, seed: int) -> Dataset:
    """MNIST from the four IDX files in or below the folder ``argument``."""
    if not argument:
        raise InputError("wanted 'mnist:DIR', the folder with MNIST's four IDX files; got no folder")
    folder = Path(argument).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {folder}; wanted 'mnist:DIR', the folder with MNIST's four IDX files"
        )
    train_images, train_labels = _mnist_part(folder, "train")
    test_images, test_labels = _mnist_part(folder, "t10k")
    classes = tuple(map(str, range(10)))
    return Dataset("mnist", train_images, train_labels, test_images, test_labels, classes)


def _mnist_part(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images float32 [N, 1, H, W] in [0, 1] and labels int64 [N] of one half of MNIST."""
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
            f"{label_file}: wanted at least one label, each 0 to 9; got {len(labels)} labels up to "
            f"{labels.max(initial=0)}; check that it is the right file"
        )
    return torch.from_numpy(images).unsqueeze(1).float() / 255, torch.from_numpy(labels).long()


def _find(folder: Path, name: str) -> Path:
    """The file of that name, plain or .gz, in one of the usual places."""
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
    """The array in an IDX file of unsigned bytes, plain or .gz, with that many dimensions.

    Errors: `StoreError` where the magic number, the sizes or the length are not those of such a file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"cannot read {path}: {error}; get the file again") from error
    header = 4 + 4 * dimensions
    wanted_magic = bytes([0, 0, 8, dimensions])
    if content[:4] != wanted_magic:
        raise StoreError(
            f"{path} is not an IDX file of bytes with {dimensions} dimensions: wanted the magic "
            f"number {wanted_magic.hex()}, got {content[:4].hex() or 'an empty file'}; check that it is the "
            f"right file"
        )
    if len(content) < header:
        raise StoreError(
            f"{path} is truncated: wanted a header of {header} bytes, got {len(content)}; get the file again"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise StoreError(
            f"{path} is truncated or damaged: its header announces {list(shape)}, {math.prod(shape)} bytes; "
            f"it has {len(content) - header}; get the file again"
        )
    pixels = np.array(memoryview(content)[header:], dtype=np.uint8)
    return pixels.reshape(shape)


SCHEMES: dict[str, Callable[[str, int], Dataset]] = {"digits": _digits, "mnist": _mnist}
"""Scheme → loader(argument, seed); a new kind of data set is a function and a line here."""
