"""How much of each layer paths use (Fig. 22, 23).

The density of each layer in a single class path (mean over the classes) and in the overall path, of synapses,
neurons and weights, in forward order. A residual block is what lies between two additions of tensors; its last
layer before the addition is marked.
"""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter

import numpy as np

import effpath
from detection.cases import Case
from detection.making import Making
from drawing import LOG_DENSITY, Panel, Series
from effpath.detect.fitting import class_paths_step
from effpath.files.plain import percent
from effpath.files.progress import track
from effpath.rules import plan_for
from effpath.rules.plan import LEVELS, Level
from sources import Row

KINDS = {"overall": "overall path", "class": "class paths, mean"}


def measure(case: Case, seed: int = 0, per_class: int | None = None) -> Row:
    """Measure densities on so many training images per class; without, on as many as the case says."""
    making = Making(replace(case, per_class=per_class or case.per_class), seed)
    building = effpath.BuildOptions(counts=False, allow_missing=True)
    class_paths = class_paths_step(making.graph, making.train, track, options=building)
    overall, layers = class_paths.overall, class_paths.header.layers
    density: Row = {}
    for level in LEVELS:
        keys = [layer.parameter if level == "weights" else layer.name for layer in layers]
        classes = [path.layer_density(level) for path in class_paths.values()]
        whole = overall.layer_density(level)
        density[level] = {
            "overall": [float(f"{whole[key]:.4g}") for key in keys],
            "class": [float(f"{np.mean([own[key] for own in classes]):.4g}") for key in keys],
        }
    return {
        "data": making.data.name,
        "seed": seed,
        "network_fingerprint": making.graph.fingerprint,
        "images": class_paths.images,
        "classes": len(class_paths),
        "layers": [layer.name for layer in layers],
        "blocks": blocks(making.graph),
        "density": density,
        "whole": {level: round(overall.density(level), 5) for level in LEVELS},
    }


def blocks(graph: effpath.Graph) -> list[int | None]:
    """Return for each layer the number of its residual block, None for a layer behind the last addition."""
    found: list[int | None] = []
    block = waiting = 0
    for layer in plan_for(graph).every:
        if layer.parameter:
            found.append(block)
            waiting += 1
        elif len(layer.sources) > 1 and waiting:  # an addition, and layers before it
            block, waiting = block + 1, 0
    return [None if own == block else own for own in found]


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the density of each level by layer; dots are the last layers of residual blocks."""
    numbers = table["blocks"]
    last = [
        place
        for place, own in enumerate(numbers)
        if own is not None and own not in numbers[place + 1 :]
    ]  # fmt: skip
    found = []
    for kind, title in KINDS.items():
        drawn = [Series(level, row[kind], range(1, len(row[kind]) + 1)) for level, row in table["density"].items()]
        if last:
            synapses = table["density"]["synapses"][kind]
            style = {"color": "black", "marker": "o", "linestyle": ""}
            drawn.append(
                Series("end of a residual block", [synapses[at] for at in last], [at + 1 for at in last], style)
            )
        axes = {"xlabel": "layer, in forward order", "ylabel": LOG_DENSITY, "yscale": "log"}
        if len(table["layers"]) < 10:
            axes |= {"xticks": range(1, len(table["layers"]) + 1), "xticklabels": table["layers"]}
        head = f"{network}: {title}\nn = {table['images']} images of {table['classes']} classes"
        found.append(Panel(head, drawn, row=network, axes=axes))
    return found


def extremes(table: Row, level: Level) -> tuple[tuple[str, float], tuple[str, float]]:
    """Return the densest and the sparsest layer of the overall path, with their densities."""
    pairs = list(zip(table["layers"], table["density"][level]["overall"], strict=True))
    return max(pairs, key=itemgetter(1)), min(pairs, key=itemgetter(1))


def sentence(table: Row) -> str:
    """Return what there is to see."""
    (dense, most), (sparse, least) = extremes(table, "synapses")
    single = table["density"]["synapses"]["class"]
    last = "more" if single[-1] > single[0] else "less"
    return (
        f"The overall path uses {percent(most)} of the synapses of {dense}, the densest layer, and "
        f"{percent(least)} of those of {sparse}, the sparsest; the path of a single class uses {last} of the last "
        f"layer ({percent(single[-1])}) than of the first ({percent(single[0])})."
    )
