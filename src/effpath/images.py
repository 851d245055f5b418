"""Images from files: arrays (.npy, .npz) and pictures, one by one or by folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from effpath.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")


def load_images(
    files: Sequence[str | Path], input_size: tuple[int, int, int] | None = None
) -> tuple[Tensor, list[str]]:
    """Return images float32 [N, C, H, W] and a name for each.

    Arrays are taken as they are: float [N, C, H, W], or uint8 [N, C, H, W] divided by 255; from an .npz the
    array ``images``, else the only one. Pictures and folders of pictures are read as RGB (grey where the
    network takes one channel), the short side scaled to the input and the centre cut out, in [0, 1].

    Args:
        files: arrays, pictures, folders.
        input_size: (C, H, W) of the network; needed for pictures.

    Raises:
        InputError: nothing found, an unreadable file, or images of different shapes.
    """
    parts: list[Tensor] = []
    names: list[str] = []
    for file in _expand(files):
        if file.suffix in (".npy", ".npz"):
            array = _read_array(file)
            parts.append(array)
            names += [f"{file}[{i}]" for i in range(len(array))]
        else:
            if input_size is None:
                raise InputError(
                    f"the size of {file} for the network is not known; give --input-size C,H,W, or an "
                    "input_size attribute to the model"
                )
            parts.append(_read_picture(file, input_size)[None])
            names.append(str(file))
    shapes = {tuple(part.shape[1:]) for part in parts}
    if len(shapes) > 1:
        raise InputError(f"wanted images of one shape, got {', '.join(map(str, sorted(shapes)))}")
    return torch.cat(parts), names


def _expand(files: Sequence[str | Path]) -> list[Path]:
    found: list[Path] = []
    for name in files:
        path = Path(name)
        if path.is_dir():
            inside = sorted(f for f in path.rglob("*") if f.suffix.lower() in PICTURES)
            if not inside:
                raise InputError(f"no pictures ({', '.join(PICTURES)}) in the folder {path}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"no file or folder {path}")
    if not found:
        raise InputError("wanted at least one image, got none")
    return found


def _read_array(file: Path) -> Tensor:
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        else:
            keys = list(loaded)
            key = "images" if "images" in keys else keys[0]
            if len(keys) > 1 and key != "images":
                raise InputError(f"wanted an array named 'images' in {file}, got {', '.join(keys)}")
            array = loaded[key]
    except (OSError, ValueError, EOFError, IndexError, BadZipFile) as error:
        raise InputError(f"cannot read an array from {file}: {error}; write it again with numpy.save") from error
    if array.ndim != 4 or array.dtype.kind not in "fu":
        raise InputError(f"wanted float or uint8 images [N, C, H, W] in {file}, got {array.dtype} {array.shape}")
    pixels = array.astype(np.float32) / (255 if array.dtype.kind == "u" else 1)
    return torch.from_numpy(pixels)


def _read_picture(file: Path, input_size: tuple[int, int, int]) -> Tensor:
    channels, height, width = input_size
    try:
        with Image.open(file) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"cannot read the picture {file}: {error}; it is damaged or no picture") from error
    scale = max(height / picture.height, width / picture.width)
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    array = np.asarray(picture.crop((left, top, left + width, top + height)), dtype=np.float32) / 255
    return torch.from_numpy(array.reshape(height, width, -1).transpose(2, 0, 1).copy())
