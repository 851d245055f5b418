"""How similar images are to their class paths, layer by layer (Fig. 5, 14).

Mean image-class path similarity of rank-1 and rank-2 paths, and how much better the rank-1 path fits the
predicted class than the best other one (the margin of the log frequencies); of clean images and of each attack,
and clean less attacked. All images are used, nothing is trained. Intervals are a bootstrap over source images,
the same resamples for all groups; an image with nothing of a layer in its path does not count there.
"""

from __future__ import annotations

import numpy as np

from detection.judge import draws_of, interval
from detection.seen import Seen
from drawing import Panel, Series
from sources import Row

MEASURES = ("rank 1", "rank 2", "margin")


def measure(seen: Seen) -> Row:
    """Measure the means of each group by layer."""
    sources = len(seen.groups["clean"].source)
    found: Row = {name: {} for name in MEASURES}
    of_clean: dict[str, np.ndarray] = {}
    for group in seen.shown:  # clean first
        draws = draws_of(group, sources)
        similarities = np.split(group.features.values, 2, axis=1)
        for name, values in zip(MEASURES, (*similarities, group.features.margins()), strict=True):  # [N, layers]
            mean = means(draws, values)
            row = {"mean": [interval(column) for column in mean.T]}
            if group.name == "clean":
                of_clean[name] = mean
            else:
                row["delta"] = [interval(column) for column in (of_clean[name] - mean).T]
            found[name][group.name] = row
    images = {group.name: len(group.source) for group in seen.shown}
    return {"layers": seen.about["layers"], "images": images, "measures": found}


def means(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean of each column [N, layers] in each resample [resamples, layers]; NaN does not count."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (draws.T @ np.where(there, values, 0)) / (draws.T @ there)


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the means and, below them, clean less attacked, a column for each measure."""
    found = []
    for what, title in {"mean": "", "delta": ", clean − attacked"}.items():
        for measured, groups in table["measures"].items():
            drawn = [
                Series(name, row[what], style={"marker": ".", **({"color": "black"} if name == "clean" else {})})
                for name, row in groups.items()
                if what in row
            ]
            found.append(Panel(f"{network}\n{measured}{title}", drawn, table["layers"], network, line=0))
    return found
