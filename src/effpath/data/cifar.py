"""CIFAR-10 and CIFAR-100: the original Python batches, or one lossless sheet of tiles per class."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from effpath.data.dataset import Dataset, Part, folder_of
from effpath.errors import StoreError
from effpath.images import PictureFormat

SIDE = 32
_NEEDED = {  # all names in the pickle of a batch of arrays, in old and new NumPy; _frombuffer is of protocol 5
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    """Reads containers, text, numbers and arrays; refuses anything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NEEDED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not part of a batch of images")
        return super().find_class(module, name)


def cifar10(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """Return CIFAR-10 from the folder ``argument``."""
    return _read(
        "cifar10", argument, "cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], "test_batch",
        "batches.meta", "labels", "label_names",
    )  # fmt: skip


def cifar100(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """Return CIFAR-100, its 100 fine classes, from the folder ``argument``."""
    return _read(
        "cifar100", argument, "cifar-100-python", ["train"], "test", "meta", "fine_labels", "fine_label_names"
    )


def _read(
    name: str, argument: str, archive: str, train: Sequence[str], test: str, meta: str, labels: str, names: str
) -> Dataset:
    folder = folder_of(name, argument, "the folder with its batches")
    if (folder / "classes.json").is_file():
        return _sheets(name, folder)
    places = [place for place in (folder, folder / archive) if (place / test).is_file()]
    if not places:
        raise StoreError(
            f"no file {test} in {folder} or {folder / archive}, and no classes.json; unpack the archive of the "
            "Python version there, or name another folder"
        )
    classes = tuple(map(str, _unpickled(places[0] / meta, [names])[names]))
    parts = {
        part: _batches([places[0] / file for file in files], labels, len(classes))
        for part, files in {"train": train, "test": [test]}.items()
    }
    return Dataset(name, parts, classes)


def _batches(files: Sequence[Path], key: str, classes: int) -> Part:
    pixels, labels = [], []
    for file in files:
        batch = _unpickled(file, ["data", key])
        data, numbers = batch["data"], np.asarray(batch[key])
        if (
            not isinstance(data, np.ndarray)
            or data.dtype != np.uint8
            or data.shape != (len(numbers), 3 * SIDE * SIDE)
            or numbers.dtype.kind != "i"
            or not 0 <= numbers.min(initial=0) <= numbers.max(initial=0) < classes
        ):
            raise StoreError(
                f"{file}: expected uint8 images [N, {3 * SIDE * SIDE}] with N labels 0 … {classes - 1}, got "
                f"{getattr(data, 'dtype', type(data).__name__)} {getattr(data, 'shape', '')} with {len(numbers)} "
                "labels; get the file again"
            )
        pixels.append(data.reshape(-1, 3, SIDE, SIDE))
        labels.append(numbers.astype(np.int64))
    return _part(np.concatenate(pixels), np.concatenate(labels))


def _unpickled(file: Path, keys: Sequence[str]) -> Mapping[str, Any]:
    try:
        held = _ArraysOnly(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise anything
        raise StoreError(f"cannot read {file}: {type(error).__name__}: {error}; get the file again") from error
    if not isinstance(held, dict) or any(key not in held for key in keys):
        raise StoreError(f"{file}: expected a dictionary with {', '.join(keys)}; check that it is the right file")
    return held


def _sheets(name: str, folder: Path) -> Dataset:
    """Read one picture per class and part, its images side by side in rows: train/00_airplane.webp, …"""
    try:
        classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))["fine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / 'classes.json'}: expected {{'fine': [names of the classes]}}: {error}"
        ) from error
    parts = {}
    for part in ("train", "test"):
        pixels, labels = [], []
        for label, title in enumerate(classes):
            file = folder / part / f"{label:02d}_{title}.webp"
            try:
                with Image.open(file) as opened:
                    sheet = np.asarray(opened.convert("RGB"))
            except Exception as error:  # damaged pictures raise anything
                raise StoreError(f"cannot read {file}: {error}; get the file again") from error
            if sheet.shape[0] % SIDE or sheet.shape[1] % SIDE:
                raise StoreError(f"{file}: expected rows of {SIDE}×{SIDE} tiles, got {sheet.shape[:2]} pixels")
            tiles = sheet.reshape(sheet.shape[0] // SIDE, SIDE, -1, SIDE, 3).transpose(0, 2, 4, 1, 3)
            pixels.append(tiles.reshape(-1, 3, SIDE, SIDE))
            labels.append(np.full(len(pixels[-1]), label))
        parts[part] = _part(np.concatenate(pixels), np.concatenate(labels))
    return Dataset(name, parts, tuple(classes))


def _part(pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Part:
    return Part(torch.from_numpy(pixels).float() / 255, torch.from_numpy(labels).long())
