"""Clean and attacked images as detectors see them, in the plane (Fig. 15).

    python studies/tsne.py --case lenet_digits --output DIR/tsne/lenet_digits.json
    python studies/tsne.py --plot DIR/tsne/*.json --output DIR/tsne.png

t-SNE of the similarities of rank-1 and rank-2 paths, at most 150 images a group, evenly spread. A picture
proves nothing; beside it is how often the five nearest images, by the similarities themselves, vote wrongly on
clean or attacked: of each attack, with as many clean images, 0.5 by chance. Images of one source are no
neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.impute import SimpleImputer
from sklearn.manifold import TSNE

from detection.cases import Case
from detection.command import run
from detection.figures import group_colours
from detection.seen import Seen
from effpath.detect.evaluate import Group
from effpath.detect.splits import source_groups
from sources import save_figure

Row = dict[str, Any]
MOST = 150  # images of a group
NEIGHBOURS = 5
SEED = 0


def measure(seen: Seen, case: Case) -> Row:
    """Place the images in the plane, and count wrong votes of neighbours in the features."""
    rows = {name: spread(len(group.source), MOST) for name, group in seen.groups.items()}
    values = np.concatenate([group.features.values[rows[name]] for name, group in seen.groups.items()])
    perplexity = min(30, (len(values) - 1) / 3)
    places = TSNE(init="pca", random_state=SEED, perplexity=perplexity).fit_transform(_filled(values))
    ends = np.cumsum([len(own) for own in rows.values()])[:-1]
    return {
        "settings": {"most": MOST, "neighbours": NEIGHBOURS, "perplexity": perplexity, "seed": SEED},
        "errors": {group.name: round(neighbour_error(seen.groups["clean"], group), 4) for group in seen.attacks},
        "compared": {group.name: min(MOST, len(group.source)) for group in seen.attacks},
        "places": {
            name: " ".join(f"{x:.1f},{y:.1f}" for x, y in own)
            for name, own in zip(rows, np.split(places, ends), strict=True)
        },
    }


def spread(total: int, most: int) -> np.ndarray:
    """Return evenly spread rows, all where there are no more than wanted."""
    return np.linspace(0, total - 1, min(total, most)).round().astype(int)


def neighbour_error(clean: Group, attacked: Group) -> float:
    """Return the share of images, equally many of either kind, on which the nearest ones vote wrongly."""
    count = min(MOST, len(clean.source), len(attacked.source))
    groups = [(own, spread(len(own.source), count)) for own in (clean, attacked)]
    values = _filled(np.concatenate([own.features.values[rows] for own, rows in groups]))
    sources = source_groups(np.concatenate([own.source[rows] for own, rows in groups]))
    kinds = np.repeat([0, 1], count)
    distances = cdist(values, values)
    distances[sources[:, None] == sources] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]
    return float(((kinds[nearest].mean(1) > 0.5) != kinds).mean())


def _filled(values: np.ndarray) -> np.ndarray:
    return SimpleImputer(strategy="median", keep_empty_features=True).fit_transform(values)


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw a panel a network, clean images on top."""
    from matplotlib.figure import Figure

    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    figure = Figure(figsize=(5.5 * columns + 1.8, 5 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    colours = group_colours(list(dict.fromkeys(name for table in tables.values() for name in table["places"])))
    for axes in grid:
        axes.set_axis_off()
    for axes, (network, table) in zip(grid, tables.items(), strict=False):
        for name, text in table["places"].items():
            points = np.array([pair.split(",") for pair in text.split()], float)
            axes.scatter(*points.T, s=7, color=colours[name], zorder=3 if name == "clean" else 2, linewidths=0)
        mean = np.mean(list(table["errors"].values()))
        axes.set_title(
            f"{network}: {NEIGHBOURS} neighbours wrong {mean:.0%}, mean over attacks", fontsize="medium"
        )
    handles = [_handle(colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside right center", fontsize="small")
    save_figure(figure, file)


def _handle(colour: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker="o", linestyle="", markersize=4)


def report(table: Row) -> Sequence[str]:
    return [
        f"{name:20} {NEIGHBOURS} neighbours wrong {error:.3f} ({table['compared'][name]} of either kind)"
        for name, error in table["errors"].items()
    ]


if __name__ == "__main__":
    run(__doc__, measure, plot, report)
