"""A network reduced to some classes by their class paths, beside pruning to the same size.

Of some classes, drawn by the seed, the weights of their class paths stay and all others are zero; larger θ keeps
more of them. Beside it as many weights are kept in other ways: those of the largest magnitude of the whole network
(global magnitude pruning), those of each layer, and any of each layer. Nothing is trained again; biases and norms
stay. Accuracy is that on test images of the kept classes, among the outputs of these classes and among all.
Intervals are a bootstrap over test images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_

import numpy as np
import torch
from torch import Tensor

import effpath
from detection.cases import Case
from detection.judge import interval, row_draws, share
from detection.making import Making, spread
from drawing import MARKED, Panel, Series
from effpath import ClassPaths, IdSet
from effpath.detect.fitting import class_paths_step
from effpath.files.progress import track
from effpath.masks import Masked
from effpath.masks.weights import pruned_to
from sources import Row

GROUPS = 3  # of classes, of each size
WAYS = ("class paths", "largest of the network", "largest of each layer", "any of each layer")
TESTED = 1000

Sets = Mapping[str, IdSet]


def measure(case: Case, seed: int = 0, images: int | None = None, per_class: int | None = None) -> Row:
    """Measure accuracies for groups of two classes, half of them, and all, and for each θ of the case.

    Args:
        case: the network and its data.
        seed: of training, of the groups of classes and of random weights.
        images: test images, evenly spread; without, 1000 at most.
        per_class: training images per class; without, as many as the case says.
    """
    making = Making(replace(case, per_class=per_class or case.per_class), seed)
    graph, test = making.graph, spread(making.data.part("test", "val"), images or TESTED)
    rng, rows, pixels = np.random.default_rng(seed), [], test.images[:]
    sizes = sorted({2, graph.classes // 2, graph.classes})
    groups = {
        size: [sorted(rng.choice(graph.classes, size, replace=False).tolist()) for _ in range(GROUPS)]
        for size in sizes[:-1]
    } | {sizes[-1]: [list(range(graph.classes))]}
    for theta in case.thetas:
        building = effpath.BuildOptions(("weights",), counts=False)
        class_paths = class_paths_step(graph, making.train, track, theta=theta, options=building)
        for size, chosen in groups.items():
            with track(f"accuracy for {size} classes") as progress:
                found = []
                for group in chosen:
                    at = torch.isin(test.labels, torch.tensor(group)).nonzero()[:, 0]
                    ways = kept(making.model.state_dict(), class_paths, group, rng)
                    found.append((at.numpy(), judged(graph, ways, pixels[at], test.labels[at], group, case.batch)))
                    progress(len(found), len(chosen))
                sizes_of = [united(class_paths, group) for group in chosen]
            rows.append({"theta": theta, "classes": size, **summary(found, sizes_of, len(test))})
    return {
        "data": making.data.name,
        "seed": seed,
        "network_fingerprint": graph.fingerprint,
        "training_images": class_paths.images,
        "test_images": len(test),
        "groups": {str(size): chosen for size, chosen in groups.items()},
        "rows": rows,
    }


def united(class_paths: ClassPaths, group: Sequence[int]) -> dict[str, IdSet]:
    """Return the weights of some class paths."""
    return {
        key: reduce(or_, (class_paths[label].weights[key] for label in group))
        for key in class_paths.header.keys("weights")
    }


def kept(
    state: Mapping[str, Tensor], class_paths: ClassPaths, group: Sequence[int], rng: np.random.Generator
) -> dict[str, Sets | None]:
    """Return what stays in each way; None for the whole network."""
    own = united(class_paths, group)
    drawn = {key: IdSet(rng.choice(ids.size, len(ids), replace=False), size=ids.size) for key, ids in own.items()}
    ways = (own, pruned_to(state, own), pruned_to(state, own, by_layer=True), drawn)
    return {"whole": None, **dict(zip(WAYS, ways, strict=True))}


def judged(
    graph: effpath.Graph, ways: Mapping[str, Sets | None], pixels: Tensor, labels: Tensor, group: Sequence[int],
    batch: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return of each way which images are right, bool [2, N]: among the kept classes, and among all."""
    outputs, found = torch.tensor(group), {}
    for way, sets in ways.items():
        network = graph if sets is None else Masked(graph, sets, "weights", keep=True)
        logits = torch.cat([network(part) for part in torch.split(pixels, batch)])
        right = [outputs[logits[:, outputs].argmax(1)] == labels, logits.argmax(1) == labels]
        found[way] = torch.stack(right).numpy()
    return found


def summary(
    found: Sequence[tuple[np.ndarray, Mapping[str, np.ndarray]]], sizes: Sequence[Sets], images: int
) -> Row:
    """Return the share of weights that stays, accuracies over all groups, and how far slicing is above pruning."""
    draws = row_draws(np.concatenate([at for at, _ in found]), images)
    every = sum(ids.size for own in sizes for ids in own.values())
    accuracy: dict[str, list[np.ndarray]] = {}
    for way in found[0][1]:
        hits = np.concatenate([right[way] for _, right in found], axis=1).astype(float)
        accuracy[way] = [share(own, draws) for own in hits]
    beyond = accuracy["class paths"][0] - np.maximum(
        accuracy["largest of the network"][0], accuracy["largest of each layer"][0]
    )
    return {
        "kept": float(f"{sum(len(ids) for own in sizes for ids in own.values()) / every:.4g}"),
        "images": len(np.unique(np.concatenate([at for at, _ in found]))),
        "among_kept": {way: interval(own[0]) for way, own in accuracy.items()},
        "among_all": {way: interval(own[1]) for way, own in accuracy.items()},
        "beyond_pruning": interval(beyond),
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw accuracy over the share of weights that stays, a panel for each number of classes."""
    found = []
    for size in dict.fromkeys(row["classes"] for row in table["rows"]):
        rows = [row for row in table["rows"] if row["classes"] == size]
        at = [row["kept"] for row in rows]
        drawn = [Series(way, [row["among_kept"][way] for row in rows], at, MARKED) for way in WAYS]
        groups = table["groups"][str(size)]
        whole = rows[0]["among_kept"]["whole"][0]
        of = f", {len(groups)} groups" * (len(groups) > 1)
        title = f"{network}: {size} classes{of}\nn = {rows[0]['images']} images; grey: the whole network"
        thetas = ", ".join(f"{row['theta']:g}" for row in rows)
        axes = {
            "xlabel": f"share of the weights that stays,\nfor θ {thetas}",
            "ylabel": "accuracy among these classes",
        }
        found.append(Panel(title, drawn, row=network, span=(-0.02, 1.02), line=whole, axes=axes))
    return found


def beaten(table: Row) -> tuple[int, int, int]:
    """Return how many rows keep more accuracy than the better pruning, less, and neither, beyond chance."""
    ends = [row["beyond_pruning"] for row in table["rows"]]
    above, below = sum(low > 0 for _, low, _ in ends), sum(high < 0 for _, _, high in ends)
    return above, below, len(ends) - above - below


def sentence(table: Row) -> str:
    """Return what there is to see."""
    above, below, level = beaten(table)
    return (
        f"Accuracy of {len(table['rows'])} networks reduced by class paths, on their classes, is higher than with "
        f"the better of two prunings to the same size {above} times, lower {below} times, and no different beyond "
        f"chance {level} times."
    )
