"""Accuracy while growing parts of the overall path are switched off, beside three controls (Sec. 2.2).

In every layer a share of the overall path's elements (synapses, neurons or weights) is switched off: drawn at
random, or those that most training images use first. The controls switch off as many of the same layer: drawn from
outside the path, drawn from the whole layer, and those of the largest weights. Where a layer has fewer elements
outside its path, all of these are off. What is off contributes nothing; biases stay. Means over draws; intervals
are a bootstrap over test images, those that the whole network gets wrong among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

import effpath
from detection.cases import Case
from detection.judge import interval, row_draws, share
from detection.making import Making, spread
from drawing import MARKED, Panel, Series
from effpath import ClassPaths, Graph, IdSet
from effpath.class_paths.tally import Tally
from effpath.detect.fitting import class_paths_step
from effpath.files.plain import percent
from effpath.files.progress import track
from effpath.masks import Masked
from effpath.rules import Layer, Level
from sources import Row

WIDE = "outside the path"  # drawn broad, as another curve may lie on it
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
DRAWS = 3
TESTED = 1000  # test images at most
RANDOM = ("the path", "outside the path", "the whole layer")
WAYS = (*RANDOM, "the path, most used first", "the largest weights")


@dataclass(frozen=True, eq=False)
class Pool:
    """The elements of one set: of a layer, or, for weights, of a parameter.

    Attributes:
        size: that ids lie below.
        ids: of all elements, ascending; no padding.
        path: those of the overall path, ascending.
        uses: how many training images use each of the path.
        magnitude: of the weight of each element; None for neurons, which have none of their own.
    """

    size: int
    ids: np.ndarray
    path: np.ndarray
    uses: np.ndarray
    magnitude: np.ndarray | None

    def ordered(self, way: str, rng: np.random.Generator) -> np.ndarray:
        """Return as many elements as the path has, in the order in which they are switched off."""
        count = len(self.path)
        if way == "the path":
            return rng.permutation(self.path)
        if way == "the path, most used first":
            return self.path[np.argsort(-self.uses.astype(np.int64), kind="stable")]
        if way == "the whole layer":
            return rng.choice(self.ids, count, replace=False)
        if way == "outside the path":
            outside = self.ids[~IdSet.from_sorted(self.path, size=self.size).contains(self.ids)]
            return rng.choice(outside, min(count, len(outside)), replace=False)
        assert self.magnitude is not None
        return self.ids[np.argsort(-self.magnitude, kind="stable")[:count]]


def measure(
    case: Case, seed: int = 0, level: Level = "synapses", images: int | None = None, per_class: int | None = None
) -> Row:
    """Measure accuracies.

    Args:
        case: the network and its data.
        seed: of training and of draws.
        level: what is switched off: synapses, neurons or weights.
        images: test images, evenly spread; without, 1000 at most.
        per_class: training images per class; without, as many as the case says.
    """
    making = Making(replace(case, per_class=per_class or case.per_class), seed)
    graph, test = making.graph, spread(making.data.part("test", "val"), images or TESTED)
    class_paths = class_paths_step(graph, making.train, track, options=effpath.BuildOptions((level,)))
    pools = {key: pool(graph, class_paths, level, key) for key in class_paths.header.keys(level)}
    draws = row_draws(np.arange(len(test)), len(test))
    pixels, labels = test.images[:], test.labels
    ways = [way for way in WAYS if way != "the largest weights" or level != "neurons"]
    hits = {way: np.zeros((len(SHARES), len(test))) for way in ways}
    done = 0
    with track(f"accuracy without {level}") as progress:
        for way in ways:
            count = DRAWS if way in RANDOM else 1
            for draw in range(count):
                for place, off in enumerate(parts(pools, way, np.random.default_rng([seed, draw]))):
                    found = Masked(graph, off, level).predict(pixels, case.batch)
                    hits[way][place] += (found == labels).numpy() / count
                done += 1
                progress(done, DRAWS * len(RANDOM) + len(ways) - len(RANDOM))
    whole = (graph.predict(pixels) == labels).numpy().astype(float)
    return {
        "data": making.data.name,
        "seed": seed,
        "network_fingerprint": graph.fingerprint,
        "level": level,
        "training_images": class_paths.images,
        "test_images": len(test),
        "draws": DRAWS,
        "classes": graph.classes,
        "path": sum(len(own.path) for own in pools.values()),
        "all": sum(len(own.ids) for own in pools.values()),
        "layers": {key: [len(own.path), len(own.ids)] for key, own in pools.items()},
        "shares": list(SHARES),
        "whole": interval(share(whole, draws)),
        "accuracy": {way: [interval(share(row, draws)) for row in rows] for way, rows in hits.items()},
    }


def pool(graph: Graph, class_paths: ClassPaths, level: Level, key: str) -> Pool:
    """Return the elements of one set, those of the overall path, and how often these are used."""
    layers = class_paths.header.layers
    layer = next(layer for layer in layers if key in (layer.name, layer.parameter))
    size = layer.universe(level)
    ids = np.arange(size)
    if level == "synapses":
        ids = ids[(layer.window.ends(torch.arange(size))[1] >= 0).numpy()]
    tally = Tally(size, dense=False)
    for label in class_paths.classes:
        tally.add(class_paths[label].sets(level)[key].ids, class_paths.counts[label][level][key])
    path, uses = tally.result()
    return Pool(size, ids, path, uses, magnitudes(graph, layer, level, ids))


def magnitudes(graph: Graph, layer: Layer, level: Level, ids: np.ndarray) -> np.ndarray | None:
    """Return the magnitude of the weight of each synapse or weight, as it is in the graph, batch norm folded."""
    if level == "neurons" or layer.weight is None:
        return None
    held = graph.constants[layer.weight].abs().reshape(-1).numpy()
    window = replace(layer.window, scalars=None, _moved={})
    return held[window.weights_of(torch.from_numpy(ids)).numpy()] if level == "synapses" else held[ids]


def parts(pools: Mapping[str, Pool], way: str, rng: np.random.Generator) -> Iterator[dict[str, IdSet]]:
    """Yield what is off at each share, the smaller parts of the larger ones."""
    ordered = {key: own.ordered(way, rng) for key, own in pools.items()}
    for part in SHARES:
        yield {
            key: IdSet(ids[: round(part * len(pools[key].path))], size=pools[key].size)
            for key, ids in ordered.items()
        }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw accuracy over the share of the path that is off, in each way."""
    names = ["0", *(percent(part) for part in table["shares"])]
    drawn = [
        Series(
            way,
            [table["whole"], *rows],
            style=MARKED if way != WIDE else {**MARKED, "linewidth": 3.5, "alpha": 0.5},
        )
        for way, rows in table["accuracy"].items()
    ]
    title = (
        f"{network}: {table['level']} switched off\n"
        f"{percent(table['path'] / table['all'])} are in the overall path; n = {table['test_images']} images"
    )
    axes = {
        "xlabel": "off in each layer, share of the path's part of it\n"
        f"({table['draws']} draws; 95 % intervals over images; grey: chance)",
        "ylabel": "accuracy",
    }
    return [Panel(title, drawn, names, network, (-0.02, 1.02), 1 / table["classes"], axes)]


def first_below(table: Row, way: str) -> float | None:
    """Return the least share at which accuracy is below that of both random controls, beyond their intervals."""
    found = table["accuracy"]
    controls = [found["outside the path"], found["the whole layer"]]
    for place, part in enumerate(table["shares"]):
        if all(found[way][place][2] < control[place][1] for control in controls):
            return float(part)
    return None


def sentence(table: Row) -> str:
    """Return what there is to see."""
    half = table["shares"].index(0.5) if 0.5 in table["shares"] else len(table["shares"]) - 1
    path, most, outside, largest = (
        percent(table["accuracy"][way][half][0]) if way in table["accuracy"] else ""
        for way in ("the path", "the path, most used first", "outside the path", "the largest weights")
    )
    said = f", with the largest weights off {largest}" if largest else ""
    return (
        f"With {percent(table['shares'][half])} of the overall path's {table['level']} off, accuracy falls from "
        f"{percent(table['whole'][0])} to {path} where they are drawn at random and to {most} where the most used "
        f"go first; with as many from outside the path off it is {outside}{said}."
    )
