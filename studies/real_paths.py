"""Paths of a trained network on real images: density, its growth with images and classes, and similarity.

    python studies/real_paths.py --model 'FILE.py:factory' --data imagefolder:DIR --output DIR/NAME.json
    python studies/real_paths.py --model 'FILE.py:factory' --data imagefolder:DIR --pooled --sizes 1 10 100 \\
        --output DIR/NAME.json
    python studies/real_paths.py --plot DIR/NAME.json --output DIR/NAME.svg

Density (Eq. 4) is that of single images, of class paths and of the overall path, of synapses, neurons and
weights, over the first images of each class that the network predicts correctly (Fig. 3). Class-wise similarity
is the Jaccard of each two class paths (Eq. 5). Clean-image similarity is the share of an image's own path that
lies inside the path of its class, and of other classes, over images that no class path was made of (Sec. 3).
With ``--pooled`` the images make one path, in their order: for data with an image or two per class. A result that
is there is kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import effpath
from drawing import Panel, Series, curves
from effpath import ClassPaths, Graph, Options
from effpath import Path as EffectivePath
from effpath.class_paths.fused import Unions, similarity
from effpath.data import Dataset, Part
from effpath.files.progress import track
from effpath.kernels.options import make_options
from effpath.paths.header import Header
from effpath.rules.plan import LEVELS, Level
from effpath.walk.recording import Recorded, recordings
from effpath.walk.visit import paths_of
from sources import NETWORK_OPTIONS, Row, open_network, run_study


class Union:
    """A union of paths: synapses and neurons as one path, the weights beside, so that each is united once."""

    def __init__(self, path: EffectivePath) -> None:
        self.images, self.header = path.images, path.header
        self.path = path
        self.used = EffectivePath(path.header, {"weights": path.weights})

    def __or__(self, other: Union) -> Union:
        joined = Union.__new__(Union)
        joined.images, joined.header = self.images + other.images, self.header
        joined.path, joined.used = self.path | other.path, self.used | other.used
        return joined

    def density(self) -> Row:
        """Return the share of the network by level."""
        return {level: rounded(self._of(level).density(level)) for level in LEVELS}

    def totals(self) -> dict[str, int]:
        """Return the size of the network by level."""
        return {level: sum(self.header.total(level, key) for key in self.header.keys(level)) for level in LEVELS}

    def layer_density(self, level: Level) -> dict[str, float]:
        return self._of(level).layer_density(level)

    def _of(self, level: Level) -> EffectivePath:
        return self.used if level == "weights" else self.path


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def correct_images(graph: Graph, part: Part, options: Options, batch: int) -> Iterator[Recorded]:
    """Record images batch by batch and keep those that the network predicts as they are labelled."""
    for rows, _, recorded in recordings(graph, part.images, options=options, batch_size=batch):
        correct = recorded.ranked(1) == part.labels[rows]
        if bool(correct.any()):
            yield recorded if bool(correct.all()) else recorded.select(correct)


def unite(graph: Graph, part: Part, options: Options, batch: int) -> Union | None:
    """Return the union over the correctly predicted images, None where there is none."""
    unions, images = None, 0
    for recorded in correct_images(graph, part, options, batch):
        unions = unions or Unions(recorded.header)
        unions.add(recorded, [0] * len(recorded))
        images += len(recorded)
    return None if unions is None else Union(unions.paths(("synapses", "neurons"), {0: images})[0])


def join(one: Union | None, other: Union | None) -> Union | None:
    """Return the union of two, either of which may be missing."""
    return one | other if one is not None and other is not None else one or other


def single(graph: Graph, part: Part, options: Options, batch: int) -> list[Row]:
    """Return the densities of each image's own path, overall and by layer."""
    rows = []
    for recorded in correct_images(graph, part, options, batch):
        for path in paths_of(recorded):
            union = Union(path)
            rows.append({"all": union.density(), **{level: union.layer_density(level) for level in LEVELS}})
    return rows


# ---------------------------------------------------------------- similarity


def class_similarity(paths: Sequence[EffectivePath]) -> tuple[list[float], dict[str, float]]:
    """Return the Jaccard of each two class paths over all layers (Eq. 5), and the mean by layer; 0 where empty."""
    pairs = list(combinations(paths, 2))
    layers = [one.layer_jaccard(other) for one, other in pairs]
    by_layer = {layer: float(np.nan_to_num([row[layer] for row in layers]).mean()) for layer in layers[0]}
    return np.nan_to_num([one.jaccard(other) for one, other in pairs]).tolist(), by_layer


def image_similarity(
    graph: Graph, part: Part, paths: Mapping[int, EffectivePath], others: int, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return of each correctly predicted image how far each layer lies in class paths, [N, layers] each.

    The first is of its own class, the second the mean over the paths of the ``others`` next classes.
    """
    header: Header = next(iter(paths.values())).header
    labels = sorted(paths)
    turned = [
        ClassPaths(
            header, ("synapses",), {label: paths[labels[(k + by) % len(labels)]] for k, label in enumerate(labels)}
        )
        for by in range(others + 1)
    ]
    found: list[list[np.ndarray]] = [[] for _ in turned]
    for recorded in correct_images(graph, part, header.options, batch):
        known = torch.isin(recorded.ranked(1), torch.tensor(labels))
        if not bool(known.any()):
            continue
        for rows, class_paths in zip(found, turned, strict=True):
            rows.append(similarity(recorded.select(known), class_paths))
    inside, *beside = (np.concatenate(rows) for rows in found)
    return inside, np.mean(beside, axis=0)


# ---------------------------------------------------------------- one network


def measure(
    model: nn.Module,
    data: Dataset,
    *,
    preset: str | Options = "default",
    sizes: Sequence[int] = (1, 3, 10, 30),
    pooled: bool = False,
    singles: int = 2,
    held_out: int = 5,
    others: int = 1,
    batch: int = 4,
) -> Row:
    """Measure one network.

    Args:
        model, data: paths are of the training part; where there is none, of the only part.
        preset: how contributions are selected.
        sizes: images of each class (with ``pooled``: in all) that are looked at, ascending.
        pooled: make one path of all images in their order, instead of class paths.
        singles: images of each class whose own density is taken (with ``pooled``: in all).
        held_out: images of each class of the test or validation part for clean-image similarity.
        others: other classes that an image is compared with.
        batch: images recorded together.
    """
    started = time.process_time()
    options = make_options(preset)
    train = data.part("train", "all")
    graph = effpath.capture(model, train.images[:1])
    labels = [-1] if pooled else sorted(set(train.labels.tolist()))
    alone: list[Row] = []
    overall: dict[int, Union | None] = dict.fromkeys(sizes)
    densities: dict[int, list[Row]] = {size: [] for size in sizes}
    by_classes, paths = [], {}
    with track("paths") as progress:
        for number, label in enumerate(labels):
            rows = torch.arange(len(train)) if pooled else (train.labels == label).nonzero()[:, 0]
            alone += single(graph, train.take(rows[:singles]), options, batch)
            united: Union | None = None
            for start, stop in pairwise([0, *sizes]):
                united = join(united, unite(graph, train.take(rows[start:stop]), options, batch))
                overall[stop] = join(overall[stop], united)
                if united is not None:
                    densities[stop].append(united.density())
                progress(number * sizes[-1] + stop, len(labels) * sizes[-1])
            if united is not None and (whole := overall[sizes[-1]]) is not None:
                paths[label] = united
                by_classes.append({"classes": len(paths), "images": whole.images, **whole.density()})
    if whole is None or not alone:
        raise SystemExit("no image is predicted correctly; do labels and preprocessing fit the network?")
    growth = [
        {
            "size": size,
            "images": at.images,
            "overall": at.density(),
            "class": {level: mean(row[level] for row in densities[size]) for level in LEVELS},
        }
        for size, at in overall.items()
        if at is not None
    ]
    layers = by_layer(whole, alone, paths)
    table: Row = {
        "data": data.name,
        "settings": {
            "preset": options.preset, "theta": options.theta, "sizes": list(sizes), "pooled": pooled,
            "singles": singles, "held_out": held_out, "others": others,
        },
        "totals": whole.totals(),
        "single": {
            "images": len(alone),
            **{level: mean_and_sd([row["all"][level] for row in alone]) for level in LEVELS},
        },
        "growth": growth,
    }  # fmt: skip
    if not pooled:
        above, jaccards = class_similarity([one.path for one in paths.values()])
        test = data.part("test", "val").first_of_each_class(held_out)
        inside, beside = image_similarity(graph, test, {k: one.path for k, one in paths.items()}, others, batch)
        table["by_classes"] = by_classes
        table["class_jaccard"] = {"mean": mean(above), "least": rounded(min(above)), "most": rounded(max(above))}
        table["held_out_images"] = len(inside)
        for row, a, b in zip(layers, inside.T, beside.T, strict=True):
            row["jaccard"] = rounded(jaccards[row["layer"]])
            row["own"], row["other"] = mean_and_sd(a), mean_and_sd(b)
    return {**table, "layers": layers, "process_seconds": round(time.process_time() - started)}


def by_layer(whole: Union, alone: Sequence[Row], paths: Mapping[int, Union]) -> list[Row]:
    """Return a row for each layer: density of single images, of class paths and of the overall path."""
    rows: list[Row] = [{"layer": layer.name} for layer in whole.header.layers]
    for level in LEVELS:
        overall = whole.layer_density(level)
        classes = [one.layer_density(level) for one in paths.values()]
        for row, layer in zip(rows, whole.header.layers, strict=True):
            key = layer.parameter if level == "weights" else layer.name
            row[level] = {
                "single": mean(one[level][key] for one in alone),
                "class": mean(one[key] for one in classes),
                "overall": rounded(overall[key]),
            }
    return rows


def mean(values: Iterable[float]) -> float:
    return rounded(float(np.mean(list(values))))


def mean_and_sd(values: Any) -> list[float | None]:
    """Return mean and standard deviation of what is not NaN; None where there is nothing."""
    some = np.asarray(values)[~np.isnan(values)]
    return [rounded(float(some.mean())), rounded(float(some.std()))] if len(some) else [None, None]


def panels(network: str, table: Row) -> list[Panel]:
    """Draw growth with images and with classes, density by layer, and similarity by layer."""
    pooled, growth, layers = table["settings"]["pooled"], table["growth"], table["layers"]
    palette = dict(zip(LEVELS, ("tab:blue", "tab:orange", "tab:green"), strict=True))
    by_images = [
        Series(level, [row["overall"][level] for row in growth], [row["images"] for row in growth],
               {"color": colour, "marker": "o"})
        for level, colour in palette.items()
    ]  # fmt: skip
    if not pooled:
        by_images += [
            Series(f"{level}, mean over classes", [row["class"][level] for row in growth],
                   [row["size"] for row in growth], {"color": colour, "marker": "o", "linestyle": ":"})
            for level, colour in palette.items()
        ]  # fmt: skip
    kinds = {"single": "single image", "class": "class path", "overall": "overall path"}
    by_layer = [
        Series(label, [row["synapses"][kind] for row in layers], range(1, 1 + len(layers)))
        for kind, label in kinds.items()
        if not (pooled and kind == "class")
    ]
    loglog, along = {"xscale": "log", "yscale": "log"}, {"xlabel": "layer, in forward order"}
    found = [
        Panel(network, by_images, axes={**loglog, "xlabel": "images (dotted: of one class)", "ylabel": "density"}),
        Panel("by layer", by_layer, axes={**along, "yscale": "log", "ylabel": "synapse density"}),
    ]
    if not pooled:
        rows = table["by_classes"]
        by_classes = [
            Series(level, [row[level] for row in rows], [row["classes"] for row in rows],
                   {"color": colour, "marker": "o"})
            for level, colour in palette.items()
        ]  # fmt: skip
        similar = [
            Series(f"image in {which} class", [banded(*row[key]) for row in layers], range(1, 1 + len(layers)))
            for key, which in (("own", "its own"), ("other", "another"))
        ]
        similar.append(
            Series("two classes (Jaccard)", [row["jaccard"] for row in layers], range(1, 1 + len(layers)))
        )
        found += [
            Panel("overall path", by_classes, axes={"yscale": "log", "xlabel": "classes", "ylabel": "density"}),
            Panel("similarity", similar, span=(0, 1.02), axes={**along, "ylabel": "similarity"}),
        ]
    return found


def banded(value: float | None, deviation: float | None) -> list[float] | None:
    """Return a mean with a standard deviation to each side."""
    return None if value is None or deviation is None else [value, value - deviation, value + deviation]


OPTIONS: dict[str, Row] = {
    **NETWORK_OPTIONS,
    "preset": {"default": "default"},
    "sizes": {"type": int, "nargs": "+", "default": [1, 3, 10, 30], "help": "images per class, ascending"},
    "pooled": {"action": "store_true", "help": "one path of all images, in their order"},
    "singles": {"type": int, "default": 2, "help": "images per class whose own density is taken"},
    "held-out": {"type": int, "default": 5, "help": "test images per class"},
    "others": {"type": int, "default": 1, "help": "other classes that an image is compared with"},
}


def measure_network(options: argparse.Namespace) -> Row:
    model, data = open_network(options.model, options.data)
    table = measure(
        model, data, preset=options.preset, sizes=options.sizes, pooled=options.pooled, singles=options.singles,
        held_out=options.held_out, others=options.others,
    )  # fmt: skip
    print(f"{options.output}: {table['growth'][-1]}")
    return {"network": options.model.rpartition(":")[2], **table}


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw networks one below the other."""
    curves([panel for table in tables.values() for panel in panels(title_of(table), table)], file, 2)


def title_of(table: Row) -> str:
    return f"{table['network']} on {table['data']}, preset {table['settings']['preset']}"


if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure_network, draw)
