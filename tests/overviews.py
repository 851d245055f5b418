"""Overviews of networks without a network: made-up numbers, of as many classes and layers as a test wants."""

from __future__ import annotations

import numpy as np

from effpath.kernels.options import PRESETS
from effpath.views.report.overview import Overview
from effpath.views.report.tree import tree_of
from effpath.walk.cost import LayerSize


def grouped(classes: int, groups: int = 3, seed: int = 0) -> np.ndarray:
    """Similarities of classes that belong to groups in turn: high inside of a group, low between groups."""
    rng = np.random.default_rng(seed)
    similar = rng.uniform(0.1, 0.3, (classes, classes))
    group = np.arange(classes) % groups
    similar += 0.4 * (group[:, None] == group)
    similar = (similar + similar.T) / 2
    np.fill_diagonal(similar, 1)
    return similar


def make_overview(
    *,
    classes: tuple[str, ...] = ("zero", "one", "two"),
    layers: tuple[str, ...] = ("conv1", "conv2", "fc1"),
    similarity: np.ndarray | None = None,
    **changes: object,
) -> Overview:
    count = len(classes)
    similarity = grouped(count) if similarity is None else similarity
    given = {
        "name": "LeNet-5",
        "input_shape": (1, 8, 8),
        "outputs": count,
        "fingerprint": "abc123" * 10,
        "options": PRESETS["default"],
        "layers": tuple(LayerSize(name, "conv2d", (6, 8, 8), 384, 9600, 150, f"{name}.weight") for name in layers),
        "data": "digits train, seed 0",
        "seen": 110 * count,
        "counted": True,
        "level": "synapses",
        "labels": tuple(range(count)),
        "classes": classes,
        "class_images": (100,) * count,
        "density": {"synapses": 0.0921, "neurons": 0.6, "weights": 0.1},
        "layer_density": {
            "synapses": dict.fromkeys(layers, 0.1),
            "neurons": dict.fromkeys(layers, 0.5),
            "weights": {f"{layer}.weight": 0.2 for layer in layers},
        },
        "class_density": {level: [0.05] * count for level in ("synapses", "neurons", "weights")},
        "similarity": similarity,
        "layer_similarity": {layer: 0.9 / (place + 1) for place, layer in enumerate(layers)},
        **changes,
    }
    if "tree" not in given:
        given["tree"] = tree_of(similarity)
    return Overview(**given)
