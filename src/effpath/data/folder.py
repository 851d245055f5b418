"""Folders of pictures, one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from effpath.data.dataset import Dataset, Part
from effpath.data.table import TABLE, labelled_by_table
from effpath.errors import InputError
from effpath.images import PictureFormat, is_hidden, pictures, pictures_below, unknown_size

PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def image_folder(argument: str, seed: int, picture_format: PictureFormat | None) -> Dataset:
    """Return the pictures below the folder ``argument``, sorted by class and name; classes are sorted by name."""
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise InputError(
            f"expected 'imagefolder:DIR', a folder of pictures for each class; there is no folder {argument!r}"
        )
    if picture_format is None:
        raise InputError(unknown_size(folder))
    if (folder / TABLE).is_file():
        files, labels, classes, left_out = labelled_by_table(folder)
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
