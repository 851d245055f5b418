"""How much the paths of two classes have in common (Fig. 2, 13).

The Jaccard similarity of each two class paths over all layers (Eq. 5), by preset; the class that has least in
common with the others is the most special one. Class paths are of the training images that the network gets right.
Nothing is sampled: the numbers are exact for these weights and images, and another training gives others.

Whether similar classes are those that the network confuses: Spearman's correlation, over all pairs of classes,
between similarity and the softmax that test images of one class give to the other, mean of both directions. Of
CIFAR-100, whether classes of one superclass are more similar than others. Both with a p of permuted classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

import effpath
from cifar100 import SUPERCLASS_OF
from detection.cases import Case
from detection.making import Making
from drawing import Panel, Series
from effpath.data import Part
from effpath.detect.fitting import class_paths_step
from effpath.files.progress import track
from permutation import correlated, grouped
from sources import Row

PRESETS = ("default", "paper")
FEW = ("vehicles 1", "large natural outdoor scenes", "flowers")  # superclasses of the paper's Fig. 13


def measure(case: Case, seed: int = 0, per_class: int | None = None, presets: Sequence[str] = PRESETS) -> Row:
    """Compare class paths of so many training images per class, or as many as the case says, with each preset."""
    making = Making(replace(case, per_class=per_class or case.per_class), seed)
    test = making.data.part("test", "val", "all")
    mass = confusion(making.graph, test, case.batch)
    found = {}
    for preset in presets:
        class_paths = class_paths_step(
            making.graph, making.train, track, preset=preset,
            options=effpath.BuildOptions(("synapses",), counts=False, allow_missing=True),
            description=effpath.Description(making.data.classes),
        )  # fmt: skip
        found[preset] = summary(class_paths, mass, seed)
    return {
        "data": making.data.name,
        "seed": seed,
        "network_fingerprint": making.graph.fingerprint,
        "test_images": len(test),
        "presets": found,
    }


def confusion(graph: effpath.Graph, test: Part, batch: int) -> np.ndarray:
    """Return the mean softmax of the images of each class, [classes, classes]; NaN for a class without one."""
    total = torch.zeros(graph.classes, graph.classes, dtype=torch.float64)
    with track("confusion") as progress:
        for start in range(0, len(test), batch):
            rows = slice(start, min(start + batch, len(test)))
            total.index_add_(0, test.labels[rows], graph(test.images[rows]).double().softmax(1).cpu())
            progress(rows.stop, len(test))
    return (total / torch.bincount(test.labels, minlength=graph.classes)[:, None]).numpy()


def summary(class_paths: effpath.ClassPaths, mass: np.ndarray, seed: int) -> Row:
    """Return the similarities, their means, the most special class, the closest pair, and the tests."""
    names = [class_paths.names[label] for label in class_paths.classes]
    matrix = class_paths.class_similarity()
    above = np.triu_indices(len(matrix), 1)
    means = (matrix.sum(1) - 1) / (len(matrix) - 1)
    confused = mass[np.ix_(class_paths.classes, class_paths.classes)]
    confused = (confused + confused.T) / 2
    found = {
        "images": class_paths.images,
        "classes": names,
        "similarity": matrix.round(4).tolist(),
        "mean": round(float(matrix[above].mean()), 4),
        "class_means": means.round(4).tolist(),
        "most_special": names[int(means.argmin())],
        "closest": pair(matrix[above], names),
    }
    if np.isfinite(confused).all():
        found["confusion"] = {
            "most_confused": pair(confused[above], names),
            **correlated(matrix, confused, seed),
        }
    if all(name in SUPERCLASS_OF for name in names):
        groups = [SUPERCLASS_OF[name] for name in names]
        few = [place for place, group in enumerate(groups) if group in FEW]
        found["superclasses"] = {
            "all": grouped(matrix, groups, seed),
            "few": grouped(matrix[np.ix_(few, few)], [groups[place] for place in few], seed),
        }
    return found


def pair(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the pair of the largest of the values, which are in the order of `numpy.triu_indices`."""
    place = int(values.argmax())
    return [names[ends[place]] for ends in np.triu_indices(len(names), 1)]


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the similarities, a square for each preset, with the mean of each class in the last column; colours
    range over pairs of two classes.

    Classes that form superclasses are drawn by superclass: all, and those of three.
    """
    found = []
    for preset, row in table["presets"].items():
        if "superclasses" in row:
            found += by_superclass(network, preset, row)
            continue
        drawn = [
            Series(
                name,
                [None if other == name else value for other, value in zip(row["classes"], values, strict=True)]
                + [mean],
            )
            for name, values, mean in zip(row["classes"], row["similarity"], row["class_means"], strict=True)
        ]
        off = np.array(row["similarity"])[~np.eye(len(drawn), dtype=bool)]
        title = (
            f"{network}: Jaccard of two class paths, preset {preset}; "
            f"darkest {off.min():.2f}, brightest {off.max():.2f}\n"
            f"n = {row['images']} images; mean {row['mean']:.3f}, "
            f"most special {row['most_special']}, closest {' and '.join(row['closest'])}"
        )
        axes = {"xlabel": "class", "ylabel": "class"}
        span = (float(off.min()), float(off.max()))
        found.append(Panel(title, drawn, [*row["classes"], "mean of others"], network, span, axes=axes))
    return found


def by_superclass(network: str, preset: str, row: Row) -> list[Panel]:
    """Draw all classes, named by superclass, and those of a few superclasses; what is 1 by nature is left out."""
    matrix, names = np.array(row["similarity"]), row["classes"]
    ordered = sorted(range(len(names)), key=lambda place: (SUPERCLASS_OF[names[place]], names[place]))
    groups = [SUPERCLASS_OF[names[place]] for place in ordered]
    middles = {group: groups.index(group) + groups.count(group) // 2 for group in groups}
    titles = [group if middles[group] == place else "" for place, group in enumerate(groups)]
    few = [place for place in ordered if SUPERCLASS_OF[names[place]] in FEW]
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    span = (float(off.min()), float(off.max()))
    found = []
    for key, places, shown in (("all", ordered, titles), ("few", few, [names[place] for place in few])):
        test = row["superclasses"][key]
        drawn = [
            Series(name, [None if one == other else float(matrix[one, other]) for other in places])
            for name, one in zip(shown, places, strict=True)
        ]
        which = "all classes, by superclass" if key == "all" else ", ".join(FEW)
        title = (
            f"{network}: Jaccard of two class paths, preset {preset}; {which}\n"
            f"n = {row['images']} images of {len(names)} classes; mean inside superclasses {test['inside']:.3f}, "
            f"between them {test['between']:.3f}, p = {test['p']:.2g}"
        )
        axes = {"xlabel": "class", "ylabel": "class"}
        words = [f"inside superclasses {test['inside']:.4f}, between {test['between']:.4f}, p {test['p']:.4g}"]
        found.append(Panel(title, drawn, shown, network, span, axes=axes, words=words))
    return found


def sentence(table: Row) -> str:
    """Return what there is to see."""
    row = next(iter(table["presets"].values()))
    first, second = row["closest"]
    if "superclasses" in row:
        test = row["superclasses"]["all"]
        more = "more" if test["inside"] > test["between"] else "no more"
        return (
            f"Squares along the diagonal: classes of one superclass have {more} of their paths in common "
            f"({test['inside']:.3f}) than classes of two ({test['between']:.3f}); the closest pair is {first} and "
            f"{second}."
        )
    return (
        f"The row of {row['most_special']} is the darkest: it has least in common with the others "
        f"({min(row['class_means']):.3f} on average); {first} and {second} have most "
        f"({row['similarity'][row['classes'].index(first)][row['classes'].index(second)]:.3f})."
    )
