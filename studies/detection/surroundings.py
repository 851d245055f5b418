"""Pixels from their surroundings: how badly are an image's values predicted from those around them?

Tried as a sign of an attack; no profile has it. The study `pixels` judges it beside the sign that they have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from effpath.attacks.saving import STEPS
from effpath.graph import Graph

SURROUNDINGS = "surroundings"  # the name of what is measured, beside those of rivals
SIDE = 5  # of the squares whose middle is predicted
ROUNDING = (1 / STEPS) ** 2 / 12  # the variance of what is lost where a value is rounded to 8 bits
RIDGE = 1e-6  # beside the mean square of what is predicted from


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Suspicion [N]: the mean over an image's values of the log of the squared error of their prediction.

    A value is predicted by a linear function of the other pixels of the square around it, in all channels, which
    has the least squared error over clean images; beyond its border, an image is its mirror image. Errors are not
    told apart below what rounding to 8 bits leaves. It looks at no network.

    Attributes:
        weights: float32 [C, C, side, side], of a convolution; 0 in the middle.
        offsets: float32 [C].
    """

    weights: Tensor
    offsets: Tensor

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> Surroundings:
        """Fit the prediction to clean images [N, C, H, W]; nothing is drawn, and labels and graph are not read."""
        channels, side = images.shape[1], min(SIDE, *(each - 1 + each % 2 for each in images.shape[2:]))
        around = torch.ones(channels, side, side, dtype=torch.bool)
        around[:, side // 2, side // 2] = False
        products = values = torch.zeros(())
        for image in images.split(1):
            squares = functional.unfold(mirrored(image, side), side)[0].T.double()  # [places, C · side · side]
            known = torch.cat([squares[:, around.flatten()], torch.ones(len(squares), 1).double()], 1)
            products, values = products + known.T @ known, values + known.T @ squares[:, ~around.flatten()]
        products.diagonal().add_(RIDGE * products.diagonal().mean())
        solved = torch.linalg.solve(products, values).T.float()  # [C, others + 1]
        weights = torch.zeros(channels, *around.shape)
        weights[:, around] = solved[:, :-1]
        return cls(weights, solved[:, -1])

    @torch.no_grad()
    def measure(self, images: Tensor) -> np.ndarray:
        """Measure images [N, C, H, W], float64 [N]."""
        found = []
        for image in images.split(1):
            around = mirrored(image, self.weights.shape[2])
            errors = image - functional.conv2d(around, self.weights, self.offsets)
            found.append(torch.log(errors.double().square() + ROUNDING).mean())
        measured: np.ndarray = torch.stack(found).numpy()
        return measured


def mirrored(images: Tensor, side: int) -> Tensor:
    """Return images with their mirror images around them, so that there is a square around every pixel."""
    return functional.pad(images, [side // 2] * 4, mode="reflect")
