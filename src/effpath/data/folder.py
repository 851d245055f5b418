"""Folders of pictures: a folder a class, or a table of labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from effpath.data.dataset import Dataset, Part
from effpath.errors import InputError, StoreError
from effpath.images import PictureFormat, Pictures, pictures_below, unknown_size

PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def image_folder(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """The pictures below the folder ``argument``, sorted by class and name; the classes sorted by name."""
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise InputError(
            f"expected 'imagefolder:DIR', with a folder of pictures a class; there is no folder {argument!r}"
        )
    if picture_format is None:
        raise InputError(unknown_size(folder))
    if (folder / "labels.csv").is_file():
        return _table(folder, picture_format)
    places = {
        part: folder / name for part, names in PARTS.items() for name in names if (folder / name).is_dir()
    } or {"all": folder}
    classes = sorted({path.name for place in places.values() for path in _class_folders(place)})
    parts = {}
    for part, place in places.items():
        files = [pictures_below(place / name) for name in classes]
        if not any(files):
            raise InputError(f"no pictures in folders of classes in {place}; expected {place}/CLASS/picture.jpg")
        parts[part] = _part(
            [file for own in files for file in own],
            [label for label, own in enumerate(files) for _ in own],
            folder,
            picture_format,
        )
    return Dataset(folder.name, parts, tuple(classes))


def _class_folders(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _table(folder: Path, picture_format: PictureFormat) -> Dataset:
    """Pictures and labels by the table in DIR/labels.csv: columns file (below DIR, or DIR/images) and label."""
    table = folder / "labels.csv"
    files, labels = [], []
    with table.open(newline="", encoding="utf-8") as opened:
        for number, row in enumerate(csv.DictReader(opened), start=2):
            name, label = row.get("file"), row.get("label") or ""
            if not name or not label.isdecimal():
                raise StoreError(f"{table}, line {number}: expected columns file and label (0, 1, …), got {row}")
            file = next((place / name for place in (folder, folder / "images") if (place / name).is_file()), None)
            if file is None:
                raise StoreError(f"{table}, line {number}: there is no file {folder / name}")
            files.append(file)
            labels.append(int(label))
    if not files:
        raise StoreError(f"{table}: expected a line a picture, got none")
    classes = tuple(map(str, range(max(labels) + 1)))
    return Dataset(folder.name, {"all": _part(files, labels, folder, picture_format)}, classes)


def _part(files: Sequence[Path], labels: Sequence[int], folder: Path, picture_format: PictureFormat) -> Part:
    names = [str(file.relative_to(folder)) for file in files]
    return Part(Pictures(files, picture_format), torch.tensor(labels, dtype=torch.int64), names)
