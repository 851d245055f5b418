"""A folder of pictures with a table of their labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from effpath.errors import StoreError
from effpath.images import pictures_below

TABLE = "labels.csv"
_MOST_CLASSES = 1_000_000


def labelled_by_table(folder: Path) -> tuple[list[Path], list[int], tuple[str, ...], tuple[str, ...]]:
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
        if label.isdecimal() and int(label) > _MOST_CLASSES:
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
