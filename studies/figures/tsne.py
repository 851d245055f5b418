"""Clean and attacked images as detectors see them, in the plane (Fig. 15).

t-SNE of the similarities of rank-1 and rank-2 paths, at most 150 images per group, evenly spread. A picture
proves nothing; beside it is how often the five nearest images, by the similarities themselves, vote wrongly on
clean or attacked: of each attack, with as many clean images, 0.5 by chance. Images of one source are no
neighbours.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.impute import SimpleImputer
from sklearn.manifold import TSNE

from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect.evaluate import Group
from effpath.detect.splits import source_groups
from sources import Row

MOST = 150  # images of a group
NEIGHBOURS = 5
SEED = 0


def measure(seen: Seen) -> Row:
    """Place the images in the plane, and count wrong votes of neighbours in the features."""
    rows = {group.name: spread(len(group.source), MOST) for group in seen.shown}
    values = np.concatenate([group.features.values[rows[group.name]] for group in seen.shown])
    perplexity = min(30, (len(values) - 1) / 3)
    places = TSNE(init="pca", random_state=SEED, perplexity=perplexity).fit_transform(_filled(values))
    ends = np.cumsum([len(chosen) for chosen in rows.values()])[:-1]
    return {
        "settings": {"most": MOST, "neighbours": NEIGHBOURS, "perplexity": perplexity, "seed": SEED},
        "errors": {group.name: round(neighbour_error(seen.groups["clean"], group), 4) for group in seen.attacks},
        "compared": {group.name: min(MOST, len(group.source)) for group in seen.attacks},
        "places": {
            name: " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            for name, points in zip(rows, np.split(places, ends), strict=True)
        },
    }


def spread(total: int, most: int) -> np.ndarray:
    """Return evenly spread rows, all where there are no more."""
    return np.linspace(0, total - 1, min(total, most)).round().astype(int)


def neighbour_error(clean: Group, attacked: Group) -> float:
    """Return the share of images, equally many of either kind, on which the nearest ones vote wrongly."""
    count = min(MOST, len(clean.source), len(attacked.source))
    groups = [(group, spread(len(group.source), count)) for group in (clean, attacked)]
    values = _filled(np.concatenate([group.features.values[rows] for group, rows in groups]))
    sources = source_groups(np.concatenate([group.source[rows] for group, rows in groups]))
    kinds = np.repeat([0, 1], count)
    distances = cdist(values, values)
    distances[sources[:, None] == sources] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]
    return float(((kinds[nearest].mean(1) > 0.5) != kinds).mean())


def _filled(values: np.ndarray) -> np.ndarray:
    return SimpleImputer(strategy="median", keep_empty_features=True).fit_transform(values)


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the images, clean ones on top."""
    drawn = []
    for name, text in table["places"].items():
        places = np.array([pair.split(",") for pair in text.split()], float)
        drawn.append(Series(name, places[:, 1], places[:, 0], {"color": "black"} if name == "clean" else {}))
    mean = np.mean(list(table["errors"].values()))
    title = f"{network}: {NEIGHBOURS} neighbours wrong {mean:.0%}, mean over attacks"
    words = [
        f"{name}: {NEIGHBOURS} neighbours wrong {error:.3f} ({table['compared'][name]} of either kind)"
        for name, error in table["errors"].items()
    ]
    return [Panel(title, drawn, row=network, words=words)]
