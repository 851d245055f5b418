"""An adversarial patch: one square picture that, wherever it lies, makes of any image the same class."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from effpath.attacks.spec import Settings
from effpath.errors import OptionError


def patch(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Adversarial patch (Brown 2017) on images [N, C, H, W], towards their targets [N], which are all one class.

    The patch, a square of ``scale`` times the shorter image side, is trained on the images themselves: ``steps``
    steps of Adam, each on the cross-entropy of ``draws`` images with the patch at new places, turned by at most
    ``rotation`` degrees. Each image then gets it at one more random place. The square always lies inside the
    image. It is one for a batch of `attack`, which is therefore part of the result.

    Errors: `OptionError` for a scale above 0.7, at which a turned square may not fit, or below a pixel.
    """
    side = settings["scale"] * min(images.shape[2:])
    if side < 1 or settings["scale"] > 0.7:
        raise OptionError(
            f"Patch: scale wants a share of the image side of at least a pixel and at most 0.7; got "
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


def draw_places(images: torch.Tensor, side: float, rotation: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres [N, 2] (x, y; in pixels from the upper left corner) and angles [N] of squares inside the images.

    Angles are uniform within ±``rotation`` radians, centres uniform among those whose square fits.
    """
    angles = (torch.rand(len(images)) * 2 - 1) * rotation
    reach = side / 2 * (angles.cos().abs() + angles.sin().abs())  # half of what the turned square takes of an axis
    extent = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float32)
    centres = reach[:, None] + torch.rand(len(images), 2) * (extent - 2 * reach[:, None])
    return centres.to(images.device), angles.to(images.device)


def paste(
    square: torch.Tensor, images: torch.Tensor, centres: torch.Tensor, angles: torch.Tensor, side: float
) -> torch.Tensor:
    """The images [N, C, H, W] with the square [C, P, P], ``side`` pixels wide, at those centres and angles.

    A pixel whose centre lies in the turned square is the square's, interpolated; every other stays as it is.
    """
    height, width = images.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device) + 0.5,
        torch.arange(width, device=images.device) + 0.5,
        indexing="ij",
    )
    across, down = x - centres[:, 0, None, None], y - centres[:, 1, None, None]  # [N, H, W]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    grid = torch.stack([cos * across + sin * down, cos * down - sin * across], -1) / (side / 2)  # ±1 at the edges
    inside = (grid.abs() <= 1).all(-1)[:, None]
    sampled = functional.grid_sample(
        square.expand(len(images), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )
    return torch.where(inside, sampled, images)
