"""What the figures of detection share: colours of detectors and groups, and values with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DETECTORS = {
    "linear": "tab:red",
    "surprise": "tab:blue",
    "forest": "tab:green",
    "clean": "tab:purple",
    "CDRP, linear": "tab:orange",
    "CDRP, forest": "tab:olive",
    "CDRP, adaboost": "tab:brown",
    "CDRP, boosting": "tab:pink",
    "max softmax": "grey",
    "energy": "silver",
}


def group_colours(names: Sequence[str]) -> dict[str, Any]:
    """Return a colour for each attack, and black for clean images."""
    from matplotlib import colormaps

    palette = colormaps["tab20"].colors
    attacks = [name for name in names if name != "clean"]
    return {"clean": "black", **{name: palette[place % 20] for place, name in enumerate(attacks)}}


def draw_band(axes: Any, places: Sequence[float], intervals: Sequence[Sequence[float]], **how: Any) -> None:
    """Draw values [value, low, high] as a line in a band."""
    value, low, high = np.array(intervals, dtype=float).T
    (line,) = axes.plot(places, value, linewidth=1.2, markersize=3, **how)
    axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def draw_points(axes: Any, places: np.ndarray, intervals: Sequence[Sequence[float]], **how: Any) -> None:
    """Draw values [value, low, high] as points from left to right, a line for each interval."""
    value, low, high = np.array(intervals, dtype=float).T
    axes.errorbar(
        value, places, xerr=[value - low, high - value], markersize=4, elinewidth=0.9, linestyle="", **how
    )
