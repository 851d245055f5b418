"""Adversarial patches: a picture pasted into every image, trained here or read from a file."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from effpath.attacks.spec import Settings
from effpath.attacks.universal import read_array
from effpath.errors import InputError, OptionError, StoreError


def patch(model: nn.Module, images: Tensor, targets: Tensor, settings: Settings) -> Tensor:
    """Run the adversarial patch (Brown 2017) on images [N, C, H, W], towards their targets [N], all one class.

    The patch is trained on the images themselves (`trained`), then pasted into each at one more random place. Each
    batch of `attack` has one patch, so that the batch size is part of the result. For a patch that never saw the
    images that it is pasted into, see `effpath.attacks.train_patch`.
    """
    return pasted(trained(model, images, targets, settings), images, settings)


def patch_file(model: nn.Module, images: Tensor, classes: Tensor, settings: Settings) -> Tensor:
    """Paste the patch in ``file`` into images [N, C, H, W], each at a random place.

    The file is an .npy, or an .npz of one array: floats [C, P, P] or [1, C, P, P] in [0, 1]; or a .png, which is
    read as grey or as RGB, as the images are.

    Raises:
        StoreError: the file holds no array or picture.
        InputError: an array of another shape, type or range.
    """
    path, channels = settings["file"], images.shape[1]
    array = read_png(path, channels) if path.lower().endswith(".png") else read_array(path)
    shape = array.shape[1:] if array.ndim == 4 and len(array) == 1 else array.shape
    if array.dtype.kind != "f" or len(shape) != 3 or shape[0] != channels or shape[1] != shape[2] or not shape[1]:
        raise InputError(
            f"{path}: expected floats of a square patch [{channels}, P, P], or with a 1 before it; got "
            f"{array.dtype} {list(array.shape)}"
        )
    if not (array.min() >= 0 and array.max() <= 1):  # NaN fails too
        raise InputError(
            f"{path}: expected values of a patch in [0, 1]; got {array.min():g} to {array.max():g}. "
            "Divide a patch of 0 to 255 by 255"
        )
    pixels = torch.from_numpy(array.astype(np.float32)).reshape(shape).to(images.device)
    return pasted(pixels, images, settings)


def read_png(path: str, channels: int) -> NDArray[np.float32]:
    """Return a picture as floats [channels, H, W] in [0, 1], grey or RGB; StoreError if it cannot be read."""
    try:
        with Image.open(path) as opened:
            values = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise StoreError(f"{path} is not a picture: {error}") from error
    pixels = (values / 255).astype(np.float32)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1).copy()


def trained(model: nn.Module, images: Tensor, targets: Tensor, settings: Settings) -> Tensor:
    """Return a patch, float [C, P, P] in [0, 1], trained on images [N, C, H, W] towards their targets [N].

    ``steps`` steps of Adam, each on the cross-entropy of ``draws`` images with the patch at new places. With
    ``cells`` it is smooth, without high frequencies: so many colours along each side, straight lines between them.

    Raises:
        OptionError: a scale above 0.7, at which a rotated square may not fit, or below a pixel; more cells than
            pixels.
    """
    side, shape = _side(images, settings), settings["shape"]
    rotation = math.radians(settings["rotation"])
    resolution, cells = math.ceil(side), settings["cells"]
    if cells > resolution:
        raise OptionError(f"Patch: expected cells of at most the {resolution} pixels of a side; got {cells}")
    free = [images.shape[1], *[cells or resolution] * 2]
    colours = torch.full(free, 0.5, device=images.device).requires_grad_()
    optimizer = torch.optim.Adam([colours], lr=settings["stepsize"])
    for _ in range(settings["steps"]):
        rows = torch.randint(len(images), (min(settings["draws"], len(images)),)).to(images.device)
        places = draw_places(images[rows], side, rotation, shape)
        made = paste(spread(colours, resolution), images[rows], *places, side, shape)
        optimizer.zero_grad()
        functional.cross_entropy(model(made), targets[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        colours.data.clamp_(0, 1)
    return spread(colours.detach(), resolution)


def pasted(pixels: Tensor, images: Tensor, settings: Settings) -> Tensor:
    """Return images [N, C, H, W] with the patch [C, P, P] at random places, as the settings say."""
    side, shape = _side(images, settings), settings["shape"]
    return paste(
        pixels, images, *draw_places(images, side, math.radians(settings["rotation"]), shape), side, shape
    )


def spread(colours: Tensor, resolution: int) -> Tensor:
    """Return colours [C, K, K] as pixels [C, resolution, resolution], with straight lines between them."""
    if colours.shape[-1] == resolution:
        return colours
    size = [resolution, resolution]
    return functional.interpolate(colours[None], size, mode="bilinear", align_corners=True)[0]


def _side(images: Tensor, settings: Settings) -> float:
    """Return the side of a patch in pixels of images [N, C, H, W]."""
    side: float = settings["scale"] * min(images.shape[2:])
    if side < 1 or settings["scale"] > 0.7:
        raise OptionError(
            f"Patch: scale must be a share of the image side, at least a pixel and at most 0.7; got "
            f"{settings['scale']:g} on images of {images.shape[2]}×{images.shape[3]}"
        )
    return side


def draw_places(images: Tensor, side: float, rotation: float, shape: str = "square") -> tuple[Tensor, Tensor]:
    """Return centres [N, 2] (x, y, in pixels from the top left corner) and angles [N] of patches inside images.

    Angles are uniform within ±``rotation`` radians, centres uniform among those at which the patch fits.
    """
    angles = (torch.rand(len(images)) * 2 - 1) * rotation
    reach = torch.full_like(angles, side / 2)  # half the rotated patch's extent along an axis
    if shape == "square":
        reach = side / 2 * (angles.cos().abs() + angles.sin().abs())
    extent = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float32)
    centres = reach[:, None] + torch.rand(len(images), 2) * (extent - 2 * reach[:, None])
    return centres.to(images.device), angles.to(images.device)


def paste(
    pixels: Tensor, images: Tensor, centres: Tensor, angles: Tensor, side: float, shape: str = "square"
) -> Tensor:
    """Return images [N, C, H, W] with a patch, ``side`` pixels wide, at these centres and angles.

    Args:
        pixels: [C, P, P], or [N, C, P, P] where each image has its own.
        images: [N, C, H, W].
        centres, angles: as of `draw_places`.
        side: in pixels.
        shape: ``square``, or ``round`` for the disc in it.

    A pixel whose centre lies in the patch is interpolated from it; all others are unchanged.
    """
    y, x = (torch.arange(length, device=images.device) + 0.5 for length in images.shape[2:])
    across = x - centres[:, 0, None, None]  # [N, 1, W]
    down = y[:, None] - centres[:, 1, None, None]  # [N, H, 1]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    grid = torch.stack([cos * across + sin * down, cos * down - sin * across], -1) / (side / 2)  # ±1 at the edges
    inside = (grid.norm(dim=-1) <= 1) if shape == "round" else (grid.abs() <= 1).all(-1)
    sampled = functional.grid_sample(
        pixels.expand(len(images), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )
    return torch.where(inside[:, None], sampled, images)
