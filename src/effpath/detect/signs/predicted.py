"""Pixels predicted from those around them: the prediction that is fitted to clean images, and how it errs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

ROUNDING = (1 / 255) ** 2 / 12  # the variance of what is lost where a value is rounded to 8 bits
ACROSS = 32  # pixels of a side that are predicted, about, evenly spaced; smaller images have fewer
PLACES = 2**14  # pixels of a class's images that the prediction is fitted to: of the first ones, one at least
PER_UNIT = 16  # of these pixels for every unit at least
AT_ONCE = 2**12  # pixels, so that what is computed of them stays in a processor's cache
RIDGE = 1e-6  # beside the mean square of what is predicted from
SEED = 0


@dataclass(frozen=True, eq=False)
class Prediction:
    """A pixel's values, of all channels, as a function of those in the square around it.

    It is linear in these and in the outputs of units, ReLU(kernel * pixels + offset): two convolutions. Beyond its
    border an image is its mirror image. Of large images one pixel in so many is predicted, see `ACROSS`.

    Attributes:
        linear: float32 [C, C, side, side], a convolution; 0 in the middle, as all kernels.
        bias: float32 [C].
        kernels: float32 [units, C, side, side].
        offsets: float32 [units].
        mixing: float32 [C, units].
    """

    linear: Tensor
    bias: Tensor
    kernels: Tensor
    offsets: Tensor
    mixing: Tensor

    def logs(self, pixels: Tensor, floor: float = ROUNDING) -> Tensor:
        """Return the mean log squared error of an image's values, [B], of pixels [B, C, H, W].

        Errors are not told apart below the root of the floor: by default, what rounding to 8 bits leaves. It is
        differentiable; the slopes of small errors are gentler with a higher floor.
        """
        linear, kernels = (each.flatten(1).to(pixels.device) for each in (self.linear, self.kernels))
        bias, offsets = (each[:, None].to(pixels.device) for each in (self.bias, self.offsets))
        mixing = self.mixing.to(pixels.device)
        step, found = step_of(pixels), []
        each = -(-pixels.shape[2] // step) * -(-pixels.shape[3] // step)
        for some in torch.split(pixels.float(), max(1, AT_ONCE // each)):
            squares, values = cut(some, self.linear.shape[2])
            told = linear @ squares + bias
            if len(offsets):
                told = told + mixing @ (kernels @ squares + offsets).relu_()
            found.append(((values - told).square() + floor).log().mean((1, 2)))
        return torch.cat(found)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a file holds of it, by name."""
        return {field.name: getattr(self, field.name).numpy() for field in fields(self)}

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]], at: str = "") -> Prediction:
        """Return what `arrays` gave, each name with ``at`` before it.

        Raises:
            KeyError, ValueError: an array is missing or does not fit the others.
        """
        parts = [arrays[at + field.name] for field in fields(cls)]
        kernel, units = parts[0].shape, len(parts[3])
        channels = kernel[0]
        wanted = [kernel, (channels,), (units, *kernel[1:]), (units,), (channels, units)]
        if [each.shape for each in parts] != wanted or kernel[1] != channels:
            raise ValueError(f"expected a prediction's {wanted}, got {[each.shape for each in parts]}")
        return cls(*(torch.from_numpy(each.astype(np.float32)) for each in parts))


class Predicting:
    """Clean images, from which a prediction is found; they may come in any batches."""

    def __init__(self, side: int, units: int) -> None:
        """Predict from squares of this side, with so many units where there are pixels enough."""
        self.side, self.units = side, units
        self.products = self.values = torch.zeros(())
        self.kernels: Tensor | None = None
        self.offsets = torch.zeros(0)
        self.places: Counter[int] = Counter()

    def add(self, image: Tensor, label: int) -> None:
        """Add one image [1, C, H, W] of this class, if the class has not enough."""
        if self.places[label] >= PLACES:
            return
        squares, values = (each[0] for each in cut(image.detach().cpu().float(), self.side))
        around = squares[outer(image.shape[1], self.side)]
        if self.kernels is None:
            draw, inputs = np.random.default_rng(SEED), len(around)
            kernels = draw.standard_normal((self.units, inputs)) / np.sqrt(inputs)
            self.kernels = torch.from_numpy(kernels.astype(np.float32))
            self.offsets = torch.from_numpy(draw.uniform(-0.25, 0.25, self.units).astype(np.float32))
        units = (self.kernels @ around + self.offsets[:, None]).relu_()
        known = torch.cat([around, torch.ones_like(around[:1]), units]).double()
        self.products = self.products + known @ known.T
        self.values = self.values + known @ values.double().T
        self.places[label] += values.shape[1]

    def prediction(self) -> Prediction:
        """Return the least squares over all that was added."""
        assert self.kernels is not None
        inputs, units = self.kernels.shape[1], min(self.units, self.places.total() // PER_UNIT)
        used = inputs + 1 + units
        products = self.products[:used, :used].clone()
        products.diagonal().add_(RIDGE * products.diagonal().mean())
        weights = torch.linalg.solve(products, self.values[:used]).T.float()
        linear, bias, mixing = weights.split([inputs, 1, units], 1)
        drawn = self._spread(self.kernels[:units]), self.offsets[:units]
        return Prediction(self._spread(linear), bias[:, 0].clone(), *drawn, mixing.contiguous())

    def _spread(self, rows: Tensor) -> Tensor:
        """Return rows [n, C · (side² − 1)] as kernels [n, C, side, side] with 0 in the middle."""
        channels = rows.shape[1] // (self.side**2 - 1)
        found = torch.zeros(len(rows), channels * self.side**2)
        found[:, outer(channels, self.side)] = rows
        return found.view(len(rows), channels, self.side, self.side)


def step_of(pixels: Tensor) -> int:
    """Return how far apart pixels of images [B, C, H, W] lie that are predicted."""
    return -(-min(pixels.shape[2:]) // ACROSS)


def outer(channels: int, side: int) -> Tensor:
    """Tell which values of a square are around its middle, bool [C · side²]."""
    around = torch.ones(channels, side**2, dtype=torch.bool)
    around[:, side**2 // 2] = False
    return around.flatten()


def cut(pixels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the squares around the pixels that are predicted, [B, C · side², places], and these, [B, C, places].

    Beyond its border is an image's mirror image, or 0 where the reach is wider.
    """
    reach, step = side // 2, step_of(pixels)
    mirrors = min(pixels.shape[2:]) > reach
    wide = functional.pad(pixels, [reach] * 4, mode="reflect" if mirrors else "constant")
    height, width = pixels.shape[2:]
    shifted = [
        wide[:, :, at // side : at // side + height : step, at % side : at % side + width : step]
        for at in range(side**2)
    ]
    return torch.stack(shifted, 2).flatten(1, 2).flatten(2), pixels[:, :, ::step, ::step].flatten(2)
