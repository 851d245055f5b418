"""The part of a path that lies in the image: which pixels it reads, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.paths.batch import Paths
from effpath.paths.header import Header
from effpath.rules.plan import Layer, Plan
from effpath.views.trace import origin_of
from effpath.walk.recording import Recorded
from effpath.walk.visit import paths_of

Pixels = NDArray[np.float32]


def pixel_maps(
    recorded: Recorded,
    paths: Paths | None = None,
    *,
    rank: int = 1,
    classes: Tensor | Sequence[int] | None = None,
) -> Pixels:
    """Return how many synapses of each image's path read each element of the image, float32 [N, C, H, W].

    It is above 0 exactly where the path is: an element that a pooling or an addition reads, and no layer, has 1.

    Args:
        recorded: the images' activations, recorded for all layers.
        paths: the paths of all layers, where they are known already; they are walked if not.
        rank: start at the class with the rank-th highest logit.
        classes: start at these classes instead, [N].
    """
    plan = recorded.plan
    readers = _readers(plan)
    if paths is None:
        header = Header.of(plan.graph, recorded.header.options, tuple(layer for layer, _ in readers))
        paths = paths_of(replace(recorded, header=header), rank=rank, classes=classes)
    if paths.pixels is None:
        raise AssertionError("expected images that were recorded for all layers")
    maps = np.zeros((len(paths), plan.graph.size(plan.graph.input)), np.float32)
    for row, counts in enumerate(maps):
        counts[paths.pixels[row]] = 1
        read = np.zeros(len(counts), np.int64)
        for layer, pixels in readers:
            _, inputs = layer.window.ends(torch.from_numpy(paths.synapses[layer.name][row]))
            at = pixels[inputs.numpy()]
            read += np.bincount(at[at >= 0], minlength=len(counts))
        counts[:] = np.maximum(counts, read)
    return maps.reshape(len(maps), *plan.graph.input_shape)


def with_readers(plan: Plan, header: Header) -> Header:
    """Return a header of the layers of another and of those that read the image: one walk gives paths and maps."""
    names = {*header.keys("synapses"), *(layer.name for layer, _ in _readers(plan))}
    return replace(header, layers=tuple(layer for layer in plan.layers if layer.name in names))


def _readers(plan: Plan) -> list[tuple[Layer, NDArray[np.int64]]]:
    """Return the layers that read the image itself; with each, the element (or −1) that each of its inputs is."""
    found = []
    for layer in plan.layers:
        origin = origin_of(plan, layer.sources, {plan.graph.input: 0})
        if (origin.place == 0).any():
            found.append((layer, origin.element))
    return found


def heat(pixels: Pixels) -> Pixels:
    """Return a map [C, H, W] as what is drawn over the image: the channels together, in [0, 1], float32 [H, W].

    Of images of more than 64 pixels a side the map is smoothed, over about a fortieth of the shorter side.
    """
    shown: Pixels = _scaled(_smoothed(pixels.sum(0, dtype=np.float32)[None]))[0]
    return shown


def parted_heat(first: Pixels, second: Pixels) -> Pixels:
    """Return two maps [C, H, W] as what is drawn of both: what the first has alone, the second alone, and both.

    A pixel that both paths read is in the third map alone, however often either reads it. The maps are smoothed as
    by `heat` and have one scale; their sum is in [0, 1], float32 [3, H, W].
    """
    one, two = (_scaled(pixels.sum(0, dtype=np.float32)) for pixels in (first, second))
    both = (one > 0) & (two > 0)
    parts = np.where(both, 0, one), np.where(both, 0, two), np.where(both, (one + two) / 2, 0)
    found = _smoothed(np.stack(parts))
    top = float(found.sum(0).max(initial=0))
    return found / top if top > 0 else found


def _smoothed(maps: Pixels) -> Pixels:
    """Return maps [N, H, W] smoothed, where they are large."""
    reach = min(maps.shape[1:]) // 80 if min(maps.shape[1:]) > 64 else 0
    smooth: Any = torch.from_numpy(maps)[None]
    for _ in range(3 if reach else 0):  # three boxes are almost a bell
        smooth = torch.nn.functional.avg_pool2d(smooth, 2 * reach + 1, 1, reach, count_include_pad=False)
    found: Pixels = smooth[0].numpy()
    return found


def _scaled(maps: Pixels) -> Pixels:
    """Return maps divided by their highest value."""
    top = float(maps.max(initial=0))
    shown: Pixels = maps / top if top > 0 else maps
    return shown
