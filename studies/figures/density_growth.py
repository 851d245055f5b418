"""How density grows as paths are merged: with images of a class, and with classes (Fig. 3).

The mean over all orders of merging, computed exactly from how many images of a class, or how many classes, use
each element: one that u of n use is in a union of k with probability 1 − C(n − u, k) ÷ C(n, k). The slope is what
one more class adds. Class paths are of all training images that the network gets right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from textwrap import fill

import numpy as np

import effpath
from detection.cases import Case
from detection.making import Making
from drawing import LOG_DENSITY, Panel, Series
from effpath.class_paths.tally import Tally
from effpath.detect.fitting import class_paths_step
from effpath.files.progress import track
from effpath.rules.plan import LEVELS, Level
from sources import Row

STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # images of a class
SLOPES = (1, 5, 10, 50, 100, 200)  # classes
WIDTH = 48  # letters below a panel


def measure(case: Case, seed: int = 0, per_class: int | None = None) -> Row:
    """Measure growth on so many training images per class; without, on as many as the case says."""
    making = Making(replace(case, per_class=per_class or case.per_class), seed)
    building = effpath.BuildOptions(allow_missing=True)
    class_paths = class_paths_step(making.graph, making.train, track, options=building)
    most = min(class_paths[label].images for label in class_paths.classes)
    sizes = [size for size in STEPS if size <= most]
    classes = {level: by_classes(class_paths, level) for level in class_paths.levels}
    return {
        "data": making.data.name,
        "seed": seed,
        "network_fingerprint": making.graph.fingerprint,
        "looked_at": class_paths.seen,
        "images": class_paths.images,
        "classes": len(class_paths),
        "by_classes": {level: rounded(values) for level, values in classes.items()},
        "slope": {level: slopes(values) for level, values in classes.items()},
        "sizes": sizes,
        "by_images": {level: rounded(by_images(class_paths, level, sizes)) for level in class_paths.levels},
    }


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def slopes(densities: np.ndarray) -> dict[str, float]:
    """Return what one more class adds after so many, where there is one more."""
    return {
        str(count): round(float(densities[count] - densities[count - 1]), 7)
        for count in SLOPES
        if count < len(densities)
    }


def merged(uses: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return how many elements a union of so many of the groups has on average, [sizes].

    Args:
        uses: [groups + 1], how many elements so many of the groups use.
        sizes: of the union, ascending, at most as many as there are groups.
    """
    groups = len(uses) - 1
    absent = np.ones(len(uses))  # probability of not being in a union of the groups so far
    users, found = np.arange(len(uses)), []
    for taken in range(sizes[-1]):
        absent *= np.maximum(groups - users - taken, 0) / (groups - taken)
        if taken + 1 in sizes:
            found.append(float(uses @ (1 - absent)))
    return np.array(found)


def by_classes(class_paths: effpath.ClassPaths, level: Level) -> np.ndarray:
    """Return the density of the union of 1, 2, 3 … class paths."""
    header, count = class_paths.header, len(class_paths)
    uses, total = np.zeros(count + 1), 0
    for key in header.keys(level):
        tally = Tally(header.universe(level, key), dense=False)
        for label in class_paths.classes:
            tally.add(class_paths[label].sets(level)[key].ids)
        uses += np.bincount(tally.result()[1], minlength=count + 1)
        total += header.total(level, key)
    return merged(uses, range(1, count + 1)) / total


def by_images(class_paths: effpath.ClassPaths, level: Level, sizes: Sequence[int]) -> np.ndarray:
    """Return the density of the union of so many images of a class, mean over the classes."""
    header, found = class_paths.header, []
    total = sum(header.total(level, key) for key in header.keys(level))
    for label in class_paths.classes:
        images = class_paths[label].images
        counts = class_paths.counts[label][level].values()
        uses = sum(np.bincount(own, minlength=images + 1) for own in counts)
        found.append(merged(uses, sizes) / total)
    return np.mean(found, axis=0)


def panels(network: str, table: Row) -> list[Panel]:
    """Draw density over merged classes, with the slopes, and over merged images of one class."""
    count = table["classes"]
    after = table["slope"]["synapses"]
    slopes = ", ".join(map(points, after.values()))
    drawn = [Series(level, table["by_classes"][level], range(1, count + 1)) for level in LEVELS]
    axes = {
        "xlabel": "classes merged; points of synapses that one more adds\n"
        + fill(f"after {', '.join(after)}: {slopes}", WIDTH),
        "ylabel": LOG_DENSITY,
        "yscale": "log",
    }
    title = f"{network}: classes merged\nn = {table['images']} images of {count} classes"
    found = [Panel(title, drawn, row=network, axes=axes)]
    if len(table["sizes"]) > 1:
        drawn = [Series(level, table["by_images"][level], table["sizes"], {"marker": "o"}) for level in LEVELS]
        axes = {"xlabel": "images of one class merged", "ylabel": LOG_DENSITY, "xscale": "log", "yscale": "log"}
        title = f"{network}: images of one class merged\nmean over {count} classes"
        found.append(Panel(title, drawn, row=network, axes=axes))
    return found


def falling(table: Row, level: Level = "synapses") -> bool:
    """Whether each further class adds less, at all places where the slope was taken."""
    after = list(table["slope"][level].values())
    return len(after) > 1 and all(later < earlier for earlier, later in pairwise(after))


def sentence(table: Row) -> str:
    """Return what there is to see."""
    after = table["slope"]["synapses"]
    (first, most), *_, (last, least) = after.items()
    less = "Each further class adds less" if falling(table) else "Further classes do not always add less"
    return (
        f"{less}: one more after {first} adds {points(most)} points to the density of synapses, one more after "
        f"{last} adds {points(least)}. All {table['classes']} classes together use "
        f"{100 * table['by_classes']['synapses'][-1]:.3g} % of the synapses."
    )


def points(density: float) -> str:
    return f"{100 * density:.2g}"
