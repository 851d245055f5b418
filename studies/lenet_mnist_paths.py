"""Density and class-wise similarity of LeNet-5 on MNIST: by preset, by training seed, by number of images.

    python studies/lenet_mnist_paths.py --data mnist:DIR --output docs/results/lenet_mnist_paths.json
    python studies/lenet_mnist_paths.py --plot docs/results/lenet_mnist_paths.json --output FILE.svg

The paper reports 13.8 % overall synapse density (θ = 0.5), a mean class-wise Jaccard of about 0.5, and digit 1 as
the most special class. The study measures how far these figures depend on what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

import effpath
from drawing import MARKED, Panel, Series, curves
from effpath.data import Dataset, Part, load_data
from effpath.demo.train import accuracy
from effpath.detect.fitting import class_paths_step
from effpath.files.progress import track
from effpath.rules.plan import LEVELS
from sources import Row, run_study, train_lenet


def describe(class_paths: effpath.ClassPaths) -> Row:
    matrix = class_paths.class_similarity()
    means = (matrix.sum(1) - 1) / (len(matrix) - 1)
    overall = class_paths.overall
    return {
        "images": class_paths.images,
        **{f"{level[:-1]}_density": round(overall.density(level), 4) for level in LEVELS},
        "synapse_density_by_layer": {k: round(v, 4) for k, v in overall.layer_density().items()},
        "class_jaccard_mean": round(float(means.mean()), 4),
        "class_jaccard_by_class": means.round(4).tolist(),
        "most_special": class_paths.names[int(np.argmin(means))],
    }


def growth(graph: effpath.Graph, data: Dataset, sizes: list[int], preset: str) -> list[Row]:
    """Describe class paths of more and more images; merging is exact, so each size costs its own images only."""
    whole: effpath.ClassPaths | None = None
    rows = []
    for start, stop in pairwise([0, *sizes]):
        part = Part(data.train_images[start:stop], data.train_labels[start:stop])
        further = class_paths_step(
            graph, part, track, preset=preset, options=effpath.BuildOptions(counts=False),
            description=effpath.Description(data.classes),
        )  # fmt: skip
        whole = further if whole is None else whole | further
        rows.append(describe(whole))
    return rows


def measure(data: Dataset, *, seeds: list[int], presets: list[str], sizes: list[int]) -> Row:
    """Return a row for each size: of every preset for the first seed, of the first preset for every seed."""
    rows = []
    for seed in seeds:
        model = train_lenet(data, seed)
        graph = effpath.capture(model, data.train_images[:1])
        top1 = round(accuracy(model, data.test_images, data.test_labels), 4)
        for preset in presets if seed == seeds[0] else presets[:1]:
            for row in growth(graph, data, sizes, preset):
                rows.append({"seed": seed, "preset": preset, "accuracy": top1, **row})
    return {"paper": {"synapse_density": 0.138, "class_jaccard_mean": 0.5, "most_special": "1"}, "rows": rows}


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw density and class-wise Jaccard over the number of images, a line for each seed and preset."""
    found = []
    for network, table in tables.items():
        runs: dict[str, list[Row]] = {}
        for row in table["rows"]:
            runs.setdefault(f"{row['preset']}, seed {row['seed']}", []).append(row)
        axes = {"xscale": "log", "xlabel": "correctly predicted training images; the line: the paper's"}
        for key, title in (
            ("synapse_density", "overall synapse density"), ("class_jaccard_mean", "mean class-wise Jaccard")
        ):  # fmt: skip
            drawn = [
                Series(run, [row[key] for row in rows], [row["images"] for row in rows], MARKED)
                for run, rows in runs.items()
            ]
            found.append(Panel(title, drawn, row=network, line=table["paper"][key], axes=axes))
    curves(found, file, 2)


OPTIONS: dict[str, Row] = {
    "data": {"help": "mnist:DIR"},
    "seeds": {"type": int, "nargs": "+", "default": [0, 1, 2]},
    "presets": {"nargs": "+", "default": ["default", "paper", "authors"]},
    "sizes": {"type": int, "nargs": "+", "default": [1000, 5000, 20000, 60000]},
}


if __name__ == "__main__":
    run_study(__doc__, OPTIONS, lambda data, **given: measure(load_data(data), **given), draw)
