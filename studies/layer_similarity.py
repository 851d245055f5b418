"""How similar images are to their class paths, layer by layer (Fig. 5, 14).

    python studies/layer_similarity.py --case lenet_digits --output DIR/layer_similarity/lenet_digits.json
    python studies/layer_similarity.py --plot DIR/layer_similarity/*.json --output DIR/layer_similarity.svg

Mean image-class path similarity of rank-1 and rank-2 paths, and how much better the rank-1 path fits the
predicted class than the best other one (the margin of the log frequencies); of clean images and of each attack,
and clean less attacked. All images are used, nothing is trained. Intervals are a bootstrap over source images,
the same resamples for all groups; an image with nothing of a layer in its path does not count there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import Case
from detection.command import run
from detection.figures import draw_band, group_colours
from detection.resampling import interval, row_draws
from detection.seen import Seen
from effpath import Features
from sources import save_figure

Row = dict[str, Any]
MEASURES = ("rank 1", "rank 2", "margin")


def measure(seen: Seen, case: Case) -> Row:
    """Measure the means of each group by layer."""
    sources = len(seen.groups["clean"].source)
    found: Row = {name: {} for name in MEASURES}
    of_clean: dict[str, np.ndarray] = {}
    for group in seen.groups.values():  # clean first
        draws = row_draws(group.source, sources)
        for name, values in by_layer(group.features).items():
            mean = means(draws, values)
            own = {"mean": [interval(column) for column in mean.T]}
            if group.name == "clean":
                of_clean[name] = mean
            else:
                own["delta"] = [interval(column) for column in (of_clean[name] - mean).T]
            found[name][group.name] = own
    return {
        "layers": seen.about["layers"],
        "images": {name: len(group.source) for name, group in seen.groups.items()},
        "measures": found,
    }


def by_layer(features: Features) -> dict[str, np.ndarray]:
    """Return what is measured of each image, [N, layers]."""
    rank_1, rank_2 = np.split(features.values, 2, axis=1)
    return dict(zip(MEASURES, (rank_1, rank_2, features.margins()), strict=True))


def means(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean of each column [N, layers] in each resample [resamples, layers]; NaN does not count."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (draws.T @ np.where(there, values, 0)) / (draws.T @ there)


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the means and, below them, clean less attacked, a column a measure; two rows a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6 * len(tables)), layout="constrained")
    grid = figure.subplots(2 * len(tables), len(MEASURES), squeeze=False)
    colours = group_colours(list(dict.fromkeys(name for table in tables.values() for name in table["images"])))
    for place, (network, table) in enumerate(tables.items()):
        layers = table["layers"]
        places, step = range(len(layers)), -(-len(layers) // 8)
        for column, name in enumerate(MEASURES):
            for line, what in enumerate(("mean", "delta")):
                axes = grid[2 * place + line, column]
                for group, own in table["measures"][name].items():
                    if what in own:
                        draw_band(axes, places, own[what], color=colours[group], marker=".")
                axes.set_xticks(places[::step], layers[::step], rotation=45, ha="right", fontsize=5)
                axes.set_title(f"{network}\n{name}" + (", clean − attacked" if line else ""), fontsize="small")
                axes.axhline(0, color="grey", linewidth=0.6)
    handles = [_handle(colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside right center", fontsize="small")
    save_figure(figure, file)


def _handle(colour: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour)


def report(table: Row) -> Sequence[str]:
    lines = []
    for name, groups in table["measures"].items():
        for group, own in groups.items():
            values = " ".join(f"{value[0]:6.3f}" for value in own.get("delta", own["mean"]))
            lines.append(f"{name}, {group:20}{'  − ' if 'delta' in own else '    '}{values}")
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report)
