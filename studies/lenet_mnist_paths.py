"""Density and class-wise similarity of LeNet-5 on MNIST: by preset, by training seed, by number of images.

    python studies/lenet_mnist_paths.py --data mnist:DIR --output docs/results/lenet_mnist_paths.json

The paper reports 13.8 % overall synapse density (θ = 0.5), a mean class-wise Jaccard of about 0.5, and digit 1 as
the most special class. The study measures how far these figures depend on what the paper leaves open.
"""

from __future__ import annotations

import argparse
import json
import platform
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import torch

import effpath
from effpath.data import Dataset, load_data
from effpath.demo.train import accuracy
from effpath.files.cache import atomic_write
from effpath.files.progress import track
from sources import train_lenet, write_text


def describe(class_paths: effpath.ClassPaths) -> dict[str, Any]:
    matrix = class_paths.class_similarity()
    means = (matrix.sum(1) - 1) / (len(matrix) - 1)
    overall = class_paths.overall
    return {
        "images": class_paths.images,
        "synapse_density": round(overall.density("synapses"), 4),
        "neuron_density": round(overall.density("neurons"), 4),
        "weight_density": round(overall.density("weights"), 4),
        "synapse_density_by_layer": {k: round(v, 4) for k, v in overall.layer_density().items()},
        "class_jaccard_mean": round(float(means.mean()), 4),
        "class_jaccard_by_class": means.round(4).tolist(),
        "most_special": class_paths.names[int(np.argmin(means))],
    }


def growth(
    graph: effpath.Graph, data: Dataset, sizes: list[int], preset: str
) -> tuple[list[dict[str, Any]], effpath.ClassPaths]:
    """Build class paths piece by piece; merging is exact, so every prefix costs its own images only."""
    parts: list[effpath.ClassPaths] = []
    rows, start = [], 0
    for size in sizes:
        with track(f"{preset}: images {start} to {size}") as progress:
            part = effpath.build_class_paths(
                graph,
                data.train_images[start:size],
                data.train_labels[start:size],
                preset=preset,
                counts=False,
                names=data.classes,
                progress=progress,
            )
        parts = [reduce(or_, [*parts, part])]
        rows.append(describe(parts[0]))
        start = size
    return rows, parts[0]


def measure(data: Dataset, *, seeds: list[int], presets: list[str], sizes: list[int]) -> dict[str, Any]:
    """Return one row a (seed, preset, size): every preset for the first seed, the first preset for every seed."""
    rows = []
    for seed in seeds:
        model = train_lenet(data, seed)
        graph = effpath.capture(model, data.train_images[:1])
        top1 = round(accuracy(model, data.test_images, data.test_labels), 4)
        for preset in presets if seed == seeds[0] else presets[:1]:
            for row in growth(graph, data, sizes, preset)[0]:
                rows.append({"seed": seed, "preset": preset, "accuracy": top1, **row})
    return {
        "paper": {"synapse_density": 0.138, "class_jaccard_mean": 0.5, "most_special": "1"},
        "rows": rows,
    }


def plot(table: dict[str, Any], file: Path) -> None:
    """Draw density and class-wise Jaccard over the number of images, one line a (seed, preset)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    keys = sorted({(row["seed"], row["preset"]) for row in table["rows"]})
    for seed, preset in keys:
        rows = [row for row in table["rows"] if (row["seed"], row["preset"]) == (seed, preset)]
        x = [row["images"] for row in rows]
        left.plot(x, [row["synapse_density"] for row in rows], "o-", label=f"{preset}, seed {seed}")
        right.plot(x, [row["class_jaccard_mean"] for row in rows], "o-", label=f"{preset}, seed {seed}")
    for axes, key, title in (
        (left, "synapse_density", "overall synapse density"),
        (right, "class_jaccard_mean", "mean class-wise Jaccard"),
    ):
        axes.axhline(table["paper"][key], color="grey", linestyle="--", label="paper")
        axes.set(xscale="log", xlabel="correctly predicted training images", title=title)
    right.legend(fontsize="small")
    atomic_write(file, partial(_save, figure))


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="mnist:DIR")
    parser.add_argument("--output", type=Path, required=True, help="a .json file; the plot is beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--presets", nargs="+", default=["default", "paper", "authors"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20000, 60000])
    options = parser.parse_args()
    table = measure(load_data(options.data), seeds=options.seeds, presets=options.presets, sizes=options.sizes)
    table["command"] = (
        f"python studies/{Path(__file__).name} --data mnist:DIR --seeds {' '.join(map(str, options.seeds))} "
        f"--presets {' '.join(options.presets)} --sizes {' '.join(map(str, options.sizes))}"
    )
    table["versions"] = {
        "python": platform.python_version(), "torch": torch.__version__, "effpath": effpath.__version__
    }  # fmt: skip
    text = json.dumps(table, indent=1) + "\n"
    write_text(text, options.output)
    plot(table, options.output.with_suffix(".svg"))
    print(f"{options.output}: {len(table['rows'])} rows")


if __name__ == "__main__":
    main()
