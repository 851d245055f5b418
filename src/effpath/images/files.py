"""Which files in a folder are pictures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from effpath.images.picture import known_formats

PICTURES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
    ".pbm", ".pnm", ".jp2", ".tga",
)  # fmt: skip
"""Files with these extensions are pictures, or damaged; others are recognised by their first bytes."""
_MADE_BY_SYSTEMS = ("@eadir", "__macosx", "thumbs.db", "desktop.ini")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name was made by a system, not by the user."""
    return name.startswith(".") or name.lower() in _MADE_BY_SYSTEMS


def pictures_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures in a folder and its subfolders, sorted, and the other files that are not hidden.

    Links are followed; broken links and folders that may not be opened are among the others.
    """
    pictures: list[Path] = []
    others: list[Path] = []
    for file, readable in sorted(_files(folder, ())):
        (pictures if readable and _is_picture(file) else others).append(file)
    return pictures, others


def _files(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, bool]]:
    """Return what is not hidden below a folder, and whether it is a file that exists.

    ``above`` are the folders around it, so that links cannot form a cycle.
    """
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        with os.scandir(folder) as opened:
            inside = list(opened)
    except OSError:
        yield folder, False
        return
    for entry in inside:
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _files(folder / entry.name, (*above, here))
        else:
            yield folder / entry.name, entry.is_file()


def _is_picture(file: Path) -> bool:
    if file.suffix.lower() in PICTURES:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(
                file, formats=[name for name in known_formats() if name != "TGA"]
            ):  # which has no mark
                return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # readers raise anything for other files
        return False
