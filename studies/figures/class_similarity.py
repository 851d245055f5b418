"""How much the paths of two classes have in common (Fig. 2).

The Jaccard similarity of each two class paths over all layers (Eq. 5), by preset; the class that has least in
common with the others is the most special one. Class paths are of the training images that the network gets right.
Nothing is sampled: the numbers are exact for these weights and images, and another training gives others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import effpath
from detection.cases import Case
from detection.gather import Making
from drawing import Panel, Series
from effpath.files.progress import track
from sources import Row

PRESETS = ("default", "paper")


def measure(case: Case, seed: int = 0, per_class: int | None = None, presets: Sequence[str] = PRESETS) -> Row:
    """Compare class paths of so many training images per class, or as many as the case says, with each preset."""
    making = Making(replace(case, per_class=per_class or case.per_class), seed)
    found = {}
    for preset in presets:
        with track(f"class paths, preset {preset}") as progress:
            class_paths = effpath.build_class_paths(
                making.graph, making.train.images, making.train.labels, preset=preset,
                options=effpath.BuildOptions(("synapses",), counts=False),
                description=effpath.Description(making.data.classes), progress=progress,
            )  # fmt: skip
        found[preset] = summary(class_paths)
    return {
        "data": making.data.name,
        "seed": seed,
        "network_fingerprint": making.graph.fingerprint,
        "presets": found,
    }


def summary(class_paths: effpath.ClassPaths) -> Row:
    """Return the similarities, their means, the most special class and the closest pair."""
    names = [class_paths.names[label] for label in class_paths.classes]
    matrix = class_paths.class_similarity()
    above = np.triu_indices(len(matrix), 1)
    means = (matrix.sum(1) - 1) / (len(matrix) - 1)
    closest = int(matrix[above].argmax())
    return {
        "images": class_paths.images,
        "classes": names,
        "similarity": matrix.round(4).tolist(),
        "mean": round(float(matrix[above].mean()), 4),
        "class_means": means.round(4).tolist(),
        "most_special": names[int(means.argmin())],
        "closest": [names[above[0][closest]], names[above[1][closest]]],
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the similarities, a square for each preset, with the mean of each class in the last column."""
    found = []
    for preset, row in table["presets"].items():
        drawn = [
            Series(name, [*values, mean])
            for name, values, mean in zip(row["classes"], row["similarity"], row["class_means"], strict=True)
        ]
        title = (
            f"{network}: Jaccard of two class paths, preset {preset}\n"
            f"{row['images']} images; mean {row['mean']:.3f}, "
            f"most special {row['most_special']}, closest {' and '.join(row['closest'])}"
        )
        found.append(Panel(title, drawn, [*row["classes"], "mean of others"], network))
    return found
