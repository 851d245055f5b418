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

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import accumulate, combinations, pairwise
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import effpath
from drawing import COLOURS, Panel, Series, curves
from effpath import ClassPaths, Graph, Options
from effpath import Path as EffectivePath
from effpath.class_paths.fused import Unions
from effpath.data import Dataset, Part
from effpath.detect import path_features
from effpath.files.progress import track
from effpath.kernels.options import make_options
from effpath.rules.plan import LEVELS
from effpath.walk.recording import Recorded, recordings
from effpath.walk.visit import paths_of
from sources import NETWORK_OPTIONS, Row, open_network, run_study


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def mean(values: Iterable[float]) -> float:
    return rounded(float(np.mean(list(values))))


def mean_and_sd(values: Any) -> list[float | None]:
    """Return mean and standard deviation of what is not NaN; None where there is nothing."""
    some = np.asarray(values)[~np.isnan(values)]
    return [rounded(float(some.mean())), rounded(float(some.std()))] if len(some) else [None, None]


def densities(path: EffectivePath) -> Row:
    """Return the share of the network by level."""
    return {level: rounded(path.density(level)) for level in LEVELS}


# ---------------------------------------------------------------- paths


def correct_images(graph: Graph, part: Part, options: Options, batch: int) -> Iterator[Recorded]:
    """Record images batch by batch and keep those that the network predicts as they are labelled."""
    for rows, _, recorded in recordings(graph, part.images, options=options, batch_size=batch):
        correct = recorded.ranked(1) == part.labels[rows]
        if bool(correct.any()):
            yield recorded if bool(correct.all()) else recorded.select(correct)


def single(graph: Graph, part: Part, options: Options, batch: int) -> list[Row]:
    """Return the densities of each image's own path, overall and by layer."""
    return [
        {"all": densities(path), **{level: path.layer_density(level) for level in LEVELS}}
        for recorded in correct_images(graph, part, options, batch)
        for path in paths_of(recorded)
    ]


def unite(graph: Graph, part: Part, options: Options, batch: int) -> EffectivePath | None:
    """Return the union over the correctly predicted images, None where there is none."""
    unions, images = None, 0
    for recorded in correct_images(graph, part, options, batch):
        unions = unions or Unions(recorded.header)
        unions.add(recorded, [0] * len(recorded))
        images += len(recorded)
    return None if unions is None else unions.paths(("synapses", "neurons"), {0: images})[0]


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
    labels = sorted(paths)
    header, images = paths[labels[0]].header, part.images[:]
    found = []
    for by in range(others + 1):
        turned = {label: paths[labels[(k + by) % len(labels)]] for k, label in enumerate(labels)}
        class_paths = ClassPaths(header, ("synapses",), turned)
        seen = path_features(graph, class_paths, images, ranks=(1,), allow_missing=True, batch_size=batch)
        predicted = seen.classes[:, 0]
        found.append(seen.values[(predicted == part.labels.numpy()) & np.isin(predicted, labels)])
    return found[0], np.mean(found[1:], axis=0)


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
    """Measure one network as the options say; paths are of the training part, or of the only one there is.

    With ``pooled``, ``sizes`` and ``singles`` are of all images; ``batch`` images are recorded together.
    """
    started = time.process_time()
    options = make_options(preset)
    train = data.part("train", "all")
    graph = effpath.capture(model, train.images[:1])
    members = {-1: torch.arange(len(train))}
    if not pooled:
        members = {label: (train.labels == label).nonzero()[:, 0] for label in sorted(set(train.labels.tolist()))}
    alone: list[Row] = []
    for rows in members.values():
        alone += single(graph, train.take(rows[:singles]), options, batch)
    paths: dict[int, EffectivePath] = {}
    growth: list[Row] = []
    for start, stop in pairwise([0, *sizes]):
        with track(f"paths of images {start} to {stop}") as progress:
            for number, (label, rows) in enumerate(members.items(), 1):
                further = unite(graph, train.take(rows[start:stop]), options, batch)
                if further is not None:
                    paths[label] = paths[label] | further if label in paths else further
                progress(number, len(members))
        if paths:
            whole, by_class = reduce(or_, paths.values()), list(map(densities, paths.values()))
            means = {level: mean(row[level] for row in by_class) for level in LEVELS}
            growth.append({"size": stop, "images": whole.images, "overall": densities(whole), "class": means})
    if not growth or not alone:
        raise SystemExit("no image is predicted correctly; do labels and preprocessing fit the network?")
    paths = dict(sorted(paths.items()))
    layers, header = layer_rows(whole, alone, list(paths.values())), whole.header
    table: Row = {
        "data": data.name,
        "settings": {
            "preset": options.preset, "theta": options.theta, "sizes": list(sizes), "pooled": pooled,
            "singles": singles, "held_out": held_out, "others": others,
        },
        "totals": {level: sum(header.total(level, key) for key in header.keys(level)) for level in LEVELS},
        "single": {
            "images": len(alone),
            **{level: mean_and_sd([row["all"][level] for row in alone]) for level in LEVELS},
        },
        "growth": growth,
    }  # fmt: skip
    if not pooled:
        above, jaccards = class_similarity(list(paths.values()))
        test = data.part("test", "val").first_of_each_class(held_out)
        inside, beside = image_similarity(graph, test, paths, others, batch)
        table["by_classes"] = [
            {"classes": count, "images": path.images, **densities(path)}
            for count, path in enumerate(accumulate(paths.values(), or_), 1)
        ]
        table["class_jaccard"] = {"mean": mean(above), "least": rounded(min(above)), "most": rounded(max(above))}
        table["held_out_images"] = len(inside)
        for row, a, b in zip(layers, inside.T, beside.T, strict=True):
            row["jaccard"] = rounded(jaccards[row["layer"]])
            row["own"], row["other"] = mean_and_sd(a), mean_and_sd(b)
    return {**table, "layers": layers, "process_seconds": round(time.process_time() - started)}


def layer_rows(whole: EffectivePath, alone: Sequence[Row], paths: Sequence[EffectivePath]) -> list[Row]:
    """Return a row for each layer: density of single images, of class paths and of the overall path."""
    rows: list[Row] = [{"layer": layer.name} for layer in whole.header.layers]
    for level in LEVELS:
        overall = whole.layer_density(level)
        classes = [one.layer_density(level) for one in paths]
        for row, layer in zip(rows, whole.header.layers, strict=True):
            key = layer.parameter if level == "weights" else layer.name
            row[level] = {
                "single": mean(one[level][key] for one in alone),
                "class": mean(one[key] for one in classes),
                "overall": rounded(overall[key]),
            }
    return rows


def panels(network: str, table: Row) -> list[Panel]:
    """Draw growth with images and with classes, density by layer, and similarity by layer."""
    pooled, growth, layers = table["settings"]["pooled"], table["growth"], table["layers"]
    places = range(1, 1 + len(layers))
    palette = {level: COLOURS[level] for level in LEVELS}

    def by_level(rows: Sequence[Row], at: Sequence[int], name: str = "", **style: str) -> list[Series]:
        return [
            Series(level + name, [row[level] for row in rows], at, {"color": colour, "marker": "o", **style})
            for level, colour in palette.items()
        ]

    by_images = by_level([row["overall"] for row in growth], [row["images"] for row in growth])
    kinds = {"single": "single image", "class": "class path", "overall": "overall path"}
    if pooled:
        del kinds["class"]
    else:
        sizes = [row["size"] for row in growth]
        by_images += by_level([row["class"] for row in growth], sizes, ", mean over classes", linestyle=":")
    by_layer = [Series(label, [row["synapses"][kind] for row in layers], places) for kind, label in kinds.items()]
    loglog, along = {"xscale": "log", "yscale": "log"}, {"xlabel": "layer, in forward order"}
    found = [
        Panel(network, by_images, axes={**loglog, "xlabel": "images (dotted: of one class)", "ylabel": "density"}),
        Panel("by layer", by_layer, axes={**along, "yscale": "log", "ylabel": "synapse density"}),
    ]
    if not pooled:
        by_classes = by_level(table["by_classes"], [row["classes"] for row in table["by_classes"]])
        similar = [
            Series(f"image in {which} class", [banded(*row[key]) for row in layers], places)
            for key, which in (("own", "its own"), ("other", "another"))
        ]
        similar.append(Series("two classes (Jaccard)", [row["jaccard"] for row in layers], places))
        found += [
            Panel("overall path", by_classes, axes={"yscale": "log", "xlabel": "classes", "ylabel": "density"}),
            Panel("similarity", similar, span=(0, 1.02), axes={**along, "ylabel": "similarity"}),
        ]
    return found


def banded(value: float | None, deviation: float | None) -> list[float] | None:
    """Return a mean with a standard deviation to each side."""
    return None if value is None or deviation is None else [value, value - deviation, value + deviation]


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw networks one below the other."""
    found = []
    for table in tables.values():
        title = f"{table['network']} on {table['data']}, preset {table['settings']['preset']}"
        found += panels(title, table)
    curves(found, file, 2)


def measure_network(*, model: str, data: str, **settings: Any) -> Row:
    table = measure(*open_network(model, data), **settings)
    print(f"{model}: {table['growth'][-1]}")
    return {"network": model.rpartition(":")[2], **table}


OPTIONS: dict[str, Row] = {
    **NETWORK_OPTIONS,
    "preset": {"help": "how contributions are selected; default"},
    "sizes": {"type": int, "nargs": "+", "help": "images per class, ascending; 1 3 10 30"},
    "pooled": {"action": "store_true", "help": "one path of all images, in their order"},
    "singles": {"type": int, "help": "images per class whose own density is taken; 2"},
    "held-out": {"type": int, "help": "test or validation images per class, for clean-image similarity; 5"},
    "others": {"type": int, "help": "other classes that an image is compared with; 1"},
}


if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure_network, draw)
