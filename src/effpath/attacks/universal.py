"""One perturbation for every image: a patch that is trained on the images, or an array read from a file."""

from __future__ import annotations

import math
import zipfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from effpath.attacks.spec import Settings
from effpath.errors import InputError, OptionError, StoreError


def universal(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return images [N, C, H, W] plus the perturbation in ``file``, clipped to [0, 1].

    The file is an .npy, or an .npz of one array: floats [C, H, W] or [1, C, H, W] within ±1.

    Raises:
        StoreError: the file holds no array.
        InputError: an array of another shape, type or range.
    """
    path, shape = settings["file"], tuple(images.shape[1:])
    try:
        found = np.load(path, allow_pickle=False)
        arrays = [found] if isinstance(found, np.ndarray) else [found[name] for name in found.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is not an .npy or .npz file of numbers: {error}") from error
    if len(arrays) != 1:
        raise InputError(f"{path}: expected one array; got {len(arrays)}. Save only the perturbation")
    (array,) = arrays
    if array.dtype.kind != "f" or array.shape not in (shape, (1, *shape)):
        raise InputError(
            f"{path}: expected floats of the images' shape {list(shape)}, or with a 1 before it; got "
            f"{array.dtype} {list(array.shape)}"
        )
    if not np.abs(array).max() <= 1:  # NaN fails too
        raise InputError(
            f"{path}: expected values within ±1, as images lie in [0, 1]; got up to {np.abs(array).max():g}. "
            f"Divide a perturbation of 0 to 255 by 255"
        )
    return (images + torch.from_numpy(array.astype(np.float32)).reshape(shape).to(images.device)).clamp(0, 1)


def patch(model: nn.Module, images: Tensor, targets: Tensor, settings: Settings) -> Tensor:
    """Run the adversarial patch (Brown 2017) on images [N, C, H, W], towards their targets [N], all one class.

    The patch, a square of ``scale`` times the shorter image side, is trained on the images themselves: ``steps``
    steps of Adam, each on the cross-entropy of ``draws`` images with the patch at new places, rotated by at most
    ``rotation`` degrees. Then it is pasted into each image at one more random place, always inside the image.
    Each batch of `attack` has one patch, so that the batch size is part of the result.

    Raises:
        OptionError: a scale above 0.7, at which a rotated square may not fit, or below a pixel.
    """
    side = settings["scale"] * min(images.shape[2:])
    if side < 1 or settings["scale"] > 0.7:
        raise OptionError(
            f"Patch: scale must be a share of the image side, at least a pixel and at most 0.7; got "
            f"{settings['scale']:g} on images of {images.shape[2]}×{images.shape[3]}"
        )
    rotation = math.radians(settings["rotation"])
    resolution = math.ceil(side)
    square = torch.full((images.shape[1], resolution, resolution), 0.5, device=images.device).requires_grad_()
    optimizer = torch.optim.Adam([square], lr=settings["stepsize"])
    for _ in range(settings["steps"]):
        rows = torch.randint(len(images), (min(settings["draws"], len(images)),)).to(images.device)
        pasted = paste(square, images[rows], *draw_places(images[rows], side, rotation), side)
        optimizer.zero_grad()
        functional.cross_entropy(model(pasted), targets[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        square.data.clamp_(0, 1)
    return paste(square.detach(), images, *draw_places(images, side, rotation), side)


def draw_places(images: Tensor, side: float, rotation: float) -> tuple[Tensor, Tensor]:
    """Return centres [N, 2] (x, y, in pixels from the top left corner) and angles [N] of squares inside images.

    Angles are uniform within ±``rotation`` radians, centres uniform among those at which the square fits.
    """
    angles = (torch.rand(len(images)) * 2 - 1) * rotation
    reach = side / 2 * (angles.cos().abs() + angles.sin().abs())  # half the rotated square's extent along an axis
    extent = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float32)
    centres = reach[:, None] + torch.rand(len(images), 2) * (extent - 2 * reach[:, None])
    return centres.to(images.device), angles.to(images.device)


def paste(square: Tensor, images: Tensor, centres: Tensor, angles: Tensor, side: float) -> Tensor:
    """Return images [N, C, H, W] with the square [C, P, P], ``side`` pixels wide, at these centres and angles.

    A pixel whose centre lies in the rotated square is interpolated from the square; all others are unchanged.
    """
    y, x = (torch.arange(length, device=images.device) + 0.5 for length in images.shape[2:])
    across = x - centres[:, 0, None, None]  # [N, 1, W]
    down = y[:, None] - centres[:, 1, None, None]  # [N, H, 1]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    grid = torch.stack([cos * across + sin * down, cos * down - sin * across], -1) / (side / 2)  # ±1 at the edges
    inside = (grid.abs() <= 1).all(-1)[:, None]
    sampled = functional.grid_sample(
        square.expand(len(images), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )
    return torch.where(inside, sampled, images)
