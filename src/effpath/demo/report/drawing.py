"""Colours of the groups, and images as parts of the page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from effpath.demo.result import DemoResult, Example
from effpath.views.page.inline import CLEAN, GROUPS
from effpath.views.page.pictures import picture


def tone(result: DemoResult, group: str) -> str:
    """Return the colour of a group to draw with: the same in every figure."""
    return CLEAN if group == "clean" else GROUPS[place(result, group) % len(GROUPS)]


def place(result: DemoResult, group: str) -> int:
    """Return the place of an attack among the attacks."""
    return [attack.name for attack in result.attacks].index(group)


class Picture(NamedTuple):
    """An image of the report: its class of the style sheet, its PNG, its name, and what it shows."""

    kind: str
    data: str
    name: str
    text: str


def pictures(example: Example) -> list[Picture]:
    """Return the clean image, the adversarial one, and the difference."""
    change, times = difference(example)
    colour = len(example.clean) == 3
    return [
        Picture("pixels", picture(example.clean), "clean", f"read as {example.label}"),
        Picture("pixels", picture(example.adversarial), example.attack, f"read as {example.predicted}"),
        Picture(
            "pixels" if colour else "pixels change",
            picture(change),
            f"difference × {times:.1f}",
            "grey: unchanged" if colour else "orange: brighter, blue: darker",
        ),
    ]


def difference(example: Example) -> tuple[NDArray[np.float32], float]:
    """Return adversarial − clean as an image [3, H, W], and how often it was amplified to fill the scale.

    One channel: white is unchanged, orange brighter, blue darker. Three channels: mid grey is unchanged.
    """
    change = example.adversarial.astype(np.float64) - example.clean
    largest = float(np.abs(change).max())
    times = 1 / largest if largest > 0 else 1.0
    change = np.clip(change * times, -1, 1)
    if len(change) == 3:
        return (0.5 + change / 2).astype(np.float32), times
    flat = change.mean(0)
    ends = np.array([[0.835, 0.369, 0.0], [0.0, 0.447, 0.698]])  # brighter, darker
    ink = np.where(flat > 0, 1 - ends[0][:, None, None], 1 - ends[1][:, None, None])  # [3, H, W]
    return (1 - np.abs(flat) * ink).astype(np.float32), times
