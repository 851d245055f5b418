"""Folders of pictures: one folder per class, or a table of the labels beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from effpath.data.dataset import Dataset, Part, folder_of
from effpath.errors import InputError, StoreError
from effpath.images import PictureFormat, is_hidden, pictures, pictures_below, unknown_size

PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
TABLE = "labels.csv"
MOST_CLASSES = 1_000_000


def image_folder(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """Return the pictures below the folder ``argument``, sorted by class and name; classes are sorted by name."""
    folder = folder_of("imagefolder", argument, "a folder of pictures for each class")
    if picture_format is None:
        raise InputError(unknown_size(folder))
    if (folder / TABLE).is_file():
        files, labels, classes, left_out = _labelled_by_table(folder)
        return Dataset(folder.name, {"all": _part(files, labels, folder, picture_format)}, classes, left_out)
    places = _parts(folder) or {"all": folder}
    classes = tuple(sorted({path.name for place in places.values() for path in _folders(place)}))
    found_below, others = pictures_below(folder)
    owners = {place / name: (part, label) for part, place in places.items() for label, name in enumerate(classes)}
    depth = len(next(iter(owners)).parts) if owners else 0
    found: dict[str, list[tuple[int, Path]]] = {part: [] for part in places}
    for file in found_below:
        part, label = owners.get(Path(*file.parts[:depth]), ("", 0))
        if part:
            found[part].append((label, file))
        else:
            others.append(file)
    parts = {}
    for part, place in places.items():
        if not found[part]:
            raise InputError(f"no pictures in folders of classes in {place}; expected {place}/CLASS/picture.jpg")
        found[part].sort(key=lambda pair: pair[0])  # by class; by name already
        labels, files = [label for label, _ in found[part]], [file for _, file in found[part]]
        parts[part] = _part(files, labels, folder, picture_format)
    return Dataset(folder.name, parts, classes, tuple(str(file.relative_to(folder)) for file in sorted(others)))


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders named like parts that contain class folders, by part.

    A folder ``train`` that contains pictures is a class like the folders beside it.
    """
    found: dict[str, Path] = {}
    for path in _folders(folder):
        part = next((part for part, names in PARTS.items() if path.name.lower() in names), None)
        if part is None or not (_folders(path) or not any(path.iterdir())):
            continue
        if part in found:
            raise InputError(
                f"expected one folder for the part {part!r} in {folder}, got {found[part].name} and {path.name}; "
                "merge them, or move one elsewhere"
            )
        found[part] = path
    return {part: found[part] for part in PARTS if part in found}


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not is_hidden(path.name))


def _part(files: Sequence[Path], labels: Sequence[int], folder: Path, picture_format: PictureFormat) -> Part:
    names = [str(file.relative_to(folder) if file.is_relative_to(folder) else file) for file in files]
    return Part(pictures(files, picture_format), torch.tensor(labels, dtype=torch.int64), names)


def _labelled_by_table(folder: Path) -> tuple[list[Path], list[int], tuple[str, ...], tuple[str, ...]]:
    """Return the pictures named in DIR/labels.csv, their labels, the classes, and the pictures it does not name.

    Its columns are ``file`` (absolute, or below DIR or DIR/images) and ``label``: the numbers of the classes, or
    their names or ids, which are numbered in sorted order.

    Raises:
        StoreError: a line without such a pair, a missing file, or text that is not UTF-8.
    """
    table = folder / TABLE
    files: list[Path] = []
    labels: list[str] = []
    for number, row in enumerate(_rows(table), start=2):
        name, label = row.get("file"), (row.get("label") or "").strip()
        if not name or not label or label.isdecimal() != (labels or [label])[0].isdecimal():
            raise StoreError(
                f"{table}, line {number}: expected columns file and label (0, 1, … for all, or names for all), "
                f"got {row}"
            )
        if label.isdecimal() and int(label) > MOST_CLASSES:
            raise StoreError(f"{table}, line {number}: expected the number of a class, got {label}")
        file = next((place / name for place in (folder, folder / "images") if (place / name).is_file()), None)
        if file is None:
            raise StoreError(f"{table}, line {number}: there is no file {folder / name}")
        files.append(file)
        labels.append(label)
    if not files:
        raise StoreError(f"{table}: expected a line for each picture, got none")
    taken = {file.resolve() for file in files}
    others = tuple(
        str(file.relative_to(folder)) for file in pictures_below(folder)[0] if file.resolve() not in taken
    )
    return files, *_numbered(labels), others


def _rows(table: Path) -> list[dict[str, str | None]]:
    try:
        text = table.read_text(encoding="utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise StoreError(f"expected {table} as UTF-8 text, got {error}; save it again as UTF-8") from error
    return list(csv.DictReader(io.StringIO(text)))


def _numbered(labels: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return the labels as numbers, and the class name of each number."""
    if labels[0].isdecimal():
        numbers = [int(label) for label in labels]
        return numbers, tuple(map(str, range(max(numbers) + 1)))
    classes = sorted(set(labels))
    return [classes.index(label) for label in labels], tuple(classes)
