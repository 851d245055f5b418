"""Deletion and insertion: what a network says while pixels go, or come back, in the order of a map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from detection.judge import intervals, row_draws, share
from sources import Row

PATH, RANDOM = "effective path", "random"
BESIDE = (RANDOM, "integrated gradients")  # methods that every other one is compared with
KINDS = ("deletion", "insertion")
TOGETHER = 25  # images in one forward pass


def cells_of(height: int, width: int, side: int) -> tuple[Tensor, int]:
    """Return which square of ``side`` pixels each pixel lies in, int64 [H, W], and the number of squares."""
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    across = int(columns[-1]) + 1
    return rows[:, None] * across + columns, (int(rows[-1]) + 1) * across


def means_in_cells(maps: Tensor, side: int) -> Tensor:
    """Return the mean of maps [N, H, W] in each square, float64 [N, cells]."""
    places, count = cells_of(*maps.shape[1:], side)
    sums = maps.new_zeros(len(maps), count, dtype=torch.float64)
    sums.index_add_(1, places.flatten(), maps.flatten(1).double())
    return sums / torch.bincount(places.flatten(), minlength=count)


def removal_order(maps: Tensor, side: int, seed: int = 0) -> tuple[Tensor, int]:
    """Return the place of each pixel in the order of removal, int64 [N, H, W], and the number of places.

    The pixels of a square share their place; the square of the highest mean has place 0; ties are drawn by lot.
    """
    generator = torch.Generator().manual_seed(seed)
    places, count = cells_of(*maps.shape[1:], side)
    order = torch.empty(len(maps), count, dtype=torch.int64)
    for row, values in enumerate(means_in_cells(maps, side)):
        drawn = torch.randperm(count, generator=generator)
        ranking = drawn[torch.sort(values[drawn], stable=True, descending=True).indices]
        order[row, ranking] = torch.arange(count)
    return order[:, places], count


def probabilities(model: nn.Module, images: Tensor, classes: Tensor) -> np.ndarray:
    """Return the softmax probability of a class for each image, float64 [N]."""
    found = []
    with torch.no_grad():
        for some, chosen in zip(images.split(TOGETHER), classes.split(TOGETHER), strict=True):
            found.append(model(some).double().softmax(1).gather(1, chosen[:, None])[:, 0])
    return torch.cat(found).numpy()


def changed(
    model: nn.Module, classes: Tensor, order: tuple[Tensor, int], before: Tensor, after: Tensor, parts: int
) -> np.ndarray:
    """Return the probability of each image's class while its pixels change, float64 [N, 1 + parts].

    Args:
        model: in eval mode.
        classes: int64 [N].
        order: of `removal_order`.
        before, after: [N, C, H, W], what the pixels are changed from, and to.
        parts: equal steps from all before to all after.
    """
    places, count = order
    found = []
    for step in range(parts + 1):
        turned = (places * parts < step * count)[:, None]
        found.append(probabilities(model, torch.where(turned, after, before), classes))
    return np.stack(found, axis=1)


def area(curve: np.ndarray) -> np.ndarray:
    """Return the area under curves [N, 1 + steps] over [0, 1], by trapezoids, [N].

    >>> area(np.array([[1.0, 1.0, 1.0], [1.0, 0.5, 0.0]])).tolist()
    [1.0, 0.5]
    """
    return (curve[:, 1:] + curve[:, :-1]).mean(1) / 2


def blurred(images: Tensor) -> tuple[Tensor, float]:
    """Return images without their detail, and the width of the blur in pixels: a sixteenth of the shorter side."""
    sigma = max(1.0, min(images.shape[2:]) / 16)
    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest")), sigma


def judged(areas: Mapping[str, np.ndarray], kind: str) -> Row:
    """Return the mean area of each method, and by how much methods are more faithful than others.

    Args:
        areas: by method, [N], of the same images.
        kind: of the curve; a small area is faithful in deletion, a large one in insertion.
    """
    count = len(next(iter(areas.values())))
    draws = row_draws(np.arange(count), count)
    means = {name: share(values, draws) for name, values in areas.items()}
    sign = -1 if kind == "deletion" else 1
    beyond = {
        other: intervals({name: sign * (mean - means[other]) for name, mean in means.items() if name != other})
        for other in BESIDE
        if other in means
    }
    own = {name: sign * (means[PATH] - mean) for name, mean in means.items() if name != PATH}
    return {"auc": intervals(means), "beyond": beyond, "path_beyond": intervals(own)}
