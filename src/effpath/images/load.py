"""Images from files and folders, in the given order."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image

from effpath.errors import InputError
from effpath.images.arrays import read_array, whole_labels
from effpath.images.format import PictureFormat, PixelRange, unknown_size
from effpath.images.lazy import Images, join, pictures, prepared
from effpath.images.picture import known_formats

ARRAYS = (".npy", ".npz")
PICTURES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
    ".pbm", ".pnm", ".jp2", ".tga",
)  # fmt: skip
"""Files with these extensions are pictures, or damaged; others are recognised by their first bytes."""
_MADE_BY_SYSTEMS = ("@eadir", "__macosx", "thumbs.db", "desktop.ini")


def load_images(
    files: Sequence[str | Path],
    picture_format: PictureFormat | None = None,
    *,
    pixel_range: PixelRange | None = (0.0, 1.0),
    labels: list[int] | None = None,
    left_out: list[Path] | None = None,
) -> tuple[Images, list[str]]:
    """Return images, float32 [N, C, H, W], and their names.

    Arrays are read by `as_pixels`; of an .npz the array ``images``, else the only one. Pictures and folders of
    pictures are read when they are indexed, as RGB (grey if the network takes one channel), in [0, 1]; an image
    that is damaged or out of range is then refused by name. All are resized to the format, if one is given.

    Args:
        files: arrays, pictures, folders.
        picture_format: of the network; needed for pictures.
        pixel_range: of floats; None accepts all but NaN and infinity.
        labels: receives the label of each image: from the array ``labels`` of an .npz, otherwise −1.
        left_out: receives the files in folders that are not pictures.

    Raises:
        InputError: no image, an unreadable array, or images of different shapes.
    """
    parts: list[Images] = []
    names: list[str] = []
    known: list[int] = []
    shapes = set()
    for group in _groups(files, left_out):
        first = group[0]
        if first.suffix.lower() in ARRAYS:
            array, stated = read_array(first)
            titles = [f"{first}[{i}]" for i in range(len(array))]
            part = prepared(array, titles, pixel_range, picture_format, str(first))
            shape = picture_format.shape if picture_format else tuple(array.shape[1:])
            if labels is not None:
                known += whole_labels(stated, len(array), first)
        elif picture_format is None:
            raise InputError(unknown_size(first))
        else:
            part, titles, shape = pictures(group, picture_format), list(map(str, group)), picture_format.shape
            known += [-1] * len(group)
        parts.append(part)
        names += titles
        shapes.add(shape)
    if len(shapes) > 1:
        raise InputError(f"expected images of one shape, got {', '.join(map(str, sorted(shapes)))}")
    if not names:
        raise InputError(f"expected at least one image, got none in {', '.join(map(str, files)) or 'no file'}")
    if labels is not None:
        labels += known
    return parts[0] if len(parts) == 1 else join(parts), names


def _groups(files: Sequence[str | Path], left_out: list[Path] | None) -> Iterator[list[Path]]:
    """Yield one array, or the pictures up to the next array, at a time."""
    paths: list[Path] = []
    for path in map(Path, files):
        if path.is_file():
            paths.append(path)
            continue
        if not path.is_dir():
            raise InputError(f"no file or folder {path}")
        inside, others = pictures_below(path)
        if not inside:
            raise InputError(f"no pictures ({', '.join(PICTURES)}) in the folder {path}")
        paths += inside
        if left_out is not None:
            left_out += others
    for are_arrays, group in groupby(paths, lambda path: path.suffix.lower() in ARRAYS):
        together = list(group)
        yield from [[path] for path in together] if are_arrays else [together]


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name was made by a system, not by the user."""
    return name.startswith(".") or name.lower() in _MADE_BY_SYSTEMS


def pictures_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures in a folder and its subfolders, sorted, and the other files that are not hidden.

    Links are followed; broken links and folders that may not be opened are among the others.
    """
    found: list[Path] = []
    others: list[Path] = []
    for file, readable in sorted(_files(folder, ())):
        (found if readable and _is_picture(file) else others).append(file)
    return found, others


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
            marked = [name for name in known_formats() if name != "TGA"]  # which has no mark
            with Image.open(file, formats=marked):
                return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # readers raise anything for other files
        return False
