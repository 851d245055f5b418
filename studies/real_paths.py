"""Paths of a trained network on real images: density, its growth with images and classes, and similarity.

    python studies/real_paths.py --model 'FILE.py:factory' --data imagefolder:DIR --output DIR/NAME.json
    python studies/real_paths.py --model 'FILE.py:factory' --data imagefolder:DIR --pooled --sizes 1 10 100 \\
        --output DIR/NAME.json

Density (Eq. 4) is that of single images, of class paths and of the overall path, of synapses, neurons and
weights, over the first images of each class that the network predicts correctly (Fig. 3). Class-wise similarity
is the Jaccard of each two class paths (Eq. 5). Clean-image similarity is the share of an image's own path that
lies inside the path of its class, and of other classes, over images that no class path was made of (Sec. 3).
With ``--pooled`` the images make one path, in their order: for data with an image or two a class. A result that
is there is kept; its plot is drawn anew.
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
from effpath import ClassPaths, Graph, Options
from effpath import Path as EffectivePath
from effpath.class_paths.similarity import similarity
from effpath.class_paths.unions import Unions
from effpath.data import Dataset, Part
from effpath.files.progress import track
from effpath.kernels.options import make_options
from effpath.paths.header import Header
from effpath.rules.plan import LEVELS, Level
from effpath.walk.recording import Recorded, recordings
from effpath.walk.visit import paths_of
from sources import open_network, read_result, save_figure, write_result

Row = dict[str, Any]


class Union:
    """A union of paths: synapses and neurons as one path, the weights beside, so that each is united once."""

    def __init__(self, path: EffectivePath) -> None:
        self.images, self.header = path.images, path.header
        self.path = path
        self.used = EffectivePath(path.header, None, None, path.weights)

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
            own = Union(path)
            rows.append({"all": own.density(), **{level: own.layer_density(level) for level in LEVELS}})
    return rows


# ---------------------------------------------------------------- similarity


def class_similarity(paths: Mapping[int, EffectivePath]) -> tuple[np.ndarray, dict[str, float]]:
    """Return the Jaccard of each two class paths over all layers (Eq. 5), and the mean of each layer."""
    labels = sorted(paths)
    matrix, by_layer = np.eye(len(labels)), dict.fromkeys(paths[labels[0]].synapses, 0.0)
    pairs = list(combinations(range(len(labels)), 2))
    for i, j in pairs:
        one, other = paths[labels[i]].synapses, paths[labels[j]].synapses
        both = either = 0
        for layer in by_layer:
            common = one[layer].intersection_size(other[layer])
            all_ = len(one[layer]) + len(other[layer]) - common
            both, either = both + common, either + all_
            by_layer[layer] += common / max(1, all_) / len(pairs)
        matrix[i, j] = matrix[j, i] = both / max(1, either)
    return matrix, by_layer


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
            header, ("synapses",), {own: paths[labels[(k + by) % len(labels)]] for k, own in enumerate(labels)}
        )
        for by in range(others + 1)
    ]
    found: list[list[np.ndarray]] = [[] for _ in turned]
    for recorded in correct_images(graph, part, header.options, batch):
        known = torch.isin(recorded.ranked(1), torch.tensor(labels))
        if not bool(known.any()):
            continue
        for rows, own in zip(found, turned, strict=True):
            rows.append(similarity(recorded.select(known), own))
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
    own_density: dict[int, list[Row]] = {size: [] for size in sizes}
    by_classes, paths = [], {}
    with track("paths") as progress:
        for number, label in enumerate(labels):
            rows = torch.arange(len(train)) if pooled else (train.labels == label).nonzero()[:, 0]
            alone += single(graph, train.take(rows[:singles]), options, batch)
            own: Union | None = None
            for start, stop in pairwise([0, *sizes]):
                own = join(own, unite(graph, train.take(rows[start:stop]), options, batch))
                overall[stop] = join(overall[stop], own)
                if own is not None:
                    own_density[stop].append(own.density())
                progress(number * sizes[-1] + stop, len(labels) * sizes[-1])
            if own is not None and (whole := overall[sizes[-1]]) is not None:
                paths[label] = own
                by_classes.append({"classes": len(paths), "images": whole.images, **whole.density()})
    if whole is None or not alone:
        raise SystemExit("no image is predicted correctly; do labels and preprocessing fit the network?")
    growth = [
        {
            "size": size,
            "images": at.images,
            "overall": at.density(),
            "class": {level: mean(row[level] for row in own_density[size]) for level in LEVELS},
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
        matrix, jaccards = class_similarity({label: one.path for label, one in paths.items()})
        test = data.part("test", "val").first_of_each_class(held_out)
        inside, beside = image_similarity(graph, test, {k: one.path for k, one in paths.items()}, others, batch)
        above = [matrix[i, j] for i, j in combinations(range(len(matrix)), 2)]
        table["by_classes"] = by_classes
        table["class_jaccard"] = {"mean": mean(above), "least": rounded(min(above)), "most": rounded(max(above))}
        table["held_out_images"] = len(inside)
        for row, a, b in zip(layers, inside.T, beside.T, strict=True):
            row["jaccard"] = rounded(jaccards[row["layer"]])
            row["own"], row["other"] = mean_and_sd(a), mean_and_sd(b)
    return {**table, "layers": layers, "process_seconds": round(time.process_time() - started)}


def by_layer(whole: Union, alone: Sequence[Row], paths: Mapping[int, Union]) -> list[Row]:
    """Return a row a layer: density of single images, of class paths and of the overall path."""
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


def plot(table: Row, title: str, file: Path) -> None:
    """Draw growth with images and with classes, density by layer, and similarity by layer."""
    from matplotlib.figure import Figure

    pooled = table["settings"]["pooled"]
    figure = Figure(figsize=(10, 3.4 if pooled else 6.6), layout="constrained")
    axes = figure.subplots(1 if pooled else 2, 2, squeeze=False)
    figure.suptitle(title)
    growth = table["growth"]
    for level in LEVELS:
        line = axes[0, 0].plot(
            [row["images"] for row in growth], [row["overall"][level] for row in growth], "o-", label=level
        )
        if not pooled:
            axes[0, 0].plot(
                [row["size"] for row in growth], [row["class"][level] for row in growth], "o:",
                color=line[0].get_color(),
            )  # fmt: skip
    axes[0, 0].set(xscale="log", yscale="log", xlabel="images", ylabel="density")
    axes[0, 0].set_title(
        "overall path" if pooled else "overall path (solid), a class path (dotted)", fontsize="medium"
    )
    axes[0, 0].legend(fontsize="small")
    layers = table["layers"]
    at = np.arange(1, len(layers) + 1)
    for kind, style in (("single", ":"), ("class", "--"), ("overall", "-")):
        if not (pooled and kind == "class"):
            axes[0, 1].plot(at, [row["synapses"][kind] for row in layers], style, color="tab:blue", label=kind)
    axes[0, 1].set(yscale="log", xlabel="layer, in forward order", ylabel="synapse density")
    axes[0, 1].legend(fontsize="small")
    if not pooled:
        for level in LEVELS:
            rows = table["by_classes"]
            axes[1, 0].plot([row["classes"] for row in rows], [row[level] for row in rows], "o-", label=level)
        axes[1, 0].set(yscale="log", xlabel="classes", ylabel="density of the overall path")
        for kind, colour in (("own", "tab:green"), ("other", "tab:red")):
            value, sd = np.array([row[kind] for row in layers], dtype=float).T
            axes[1, 1].plot(
                at,
                value,
                color=colour,
                label=f"image in its {kind} class" if kind == "own" else "image in another class",
            )
            axes[1, 1].fill_between(at, value - sd, value + sd, color=colour, alpha=0.15, linewidth=0)
        axes[1, 1].plot(at, [row["jaccard"] for row in layers], color="grey", label="two classes (Jaccard)")
        axes[1, 1].set(xlabel="layer, in forward order", ylabel="similarity", ylim=(0, 1.02))
        axes[1, 1].legend(fontsize="small")
    save_figure(figure, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="FILE.py:factory or a library's model")
    parser.add_argument("--data", required=True, help="imagefolder:DIR, cifar10:DIR …")
    parser.add_argument("--output", type=Path, required=True, help="a .json file; the plot is beside it")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3, 10, 30], help="images a class, ascending")
    parser.add_argument("--pooled", action="store_true", help="one path of all images, in their order")
    parser.add_argument("--singles", type=int, default=2, help="images a class whose own density is taken")
    parser.add_argument("--held-out", type=int, default=5, help="test images a class")
    parser.add_argument("--others", type=int, default=1, help="other classes an image is compared with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.output.exists():
        model, data = open_network(options.model, options.data)
        table = measure(
            model, data, preset=options.preset, sizes=options.sizes, pooled=options.pooled,
            singles=options.singles, held_out=options.held_out, others=options.others,
        )  # fmt: skip
        write_result({"network": options.model.rpartition(":")[2], **table}, options.output)
    table = read_result(options.output)
    settings = table["settings"]
    plot(
        table,
        f"{table['network']} on {table['data']}, preset {settings['preset']}",
        options.output.with_suffix(".svg"),
    )
    print(f"{options.output}: {table['growth'][-1]}")


if __name__ == "__main__":
    main()
