"""No number before the sets are right: those of the compiled walk must be the reference's.

    python -m benchmarks.gate '[{"network": "lenet5", "theta": 0.5}]'

Takes checks of one network and prints one line of JSON for each: what was compared, whether it is equal, and how
long both backends take for it (process time, one thread). Run by `benchmarks.run`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import effpath
from benchmarks.cases import Check
from benchmarks.networks import load_network
from benchmarks.stress import stressed
from effpath.graph.graph import Graph
from effpath.paths.batch import Paths
from effpath.rules.plan import Layer
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import paths_of

REPEATS = 3  # of the compiled walk; the reference walks once


def recorded_for(check: Check, graph: Graph, images: Tensor) -> Recorded:
    """Return the recording that a check and its rows walk over."""
    recorded = record(graph, images, options=check.options, layers=check.layers, backend="compiled")
    return stressed(recorded, graph.check_images(images)) if check.kind == "stress" else recorded


def products(paths: Paths) -> dict[str, int]:
    """Return by layer the number of candidate products of all active outputs, padding left out."""
    found = {}
    for layer in paths.header.layers:
        window = layer.window
        candidates = (window.taps >= 0).sum(1) * window.group_channels
        position = window.locate(torch.from_numpy(paths.neurons[layer.name].values))[1]
        found[layer.name] = int(candidates[position].sum())
    return found


def last_layers(paths: Paths, most: int) -> tuple[Layer, ...]:
    """Return the last layers that have so many products together: at least one, all if they are no more."""
    counts, total, first = products(paths), 0, len(paths.header.layers)
    for layer in reversed(paths.header.layers):
        total += counts[layer.name]
        if total > most and first < len(paths.header.layers):
            break
        first -= 1
    return paths.header.layers[first:]


def same_sets(paths: Paths, reference: Paths) -> bool:
    """Tell whether all sets of the reference are those of the same layers in the paths."""
    pairs = [(paths.synapses[key], rows) for key, rows in reference.synapses.items()]
    pairs += [(paths.neurons[key], rows) for key, rows in reference.neurons.items()]
    if reference.pixels is not None and paths.pixels is not None:
        pairs.append((paths.pixels, reference.pixels))
    return all(
        np.array_equal(one.values, other.values) and np.array_equal(one.offsets, other.offsets)
        for one, other in pairs
    )


def seconds_of(work: Any) -> float:
    """Return the process time of a call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(check: Check, graph: Graph, images: Tensor) -> dict[str, Any]:
    """Compare the sets of both backends, and time them on the same recording."""
    recorded = recorded_for(check, graph, images)
    paths = paths_of(recorded)
    layers = last_layers(paths, check.products)
    visited = frozenset(recorded.plan.leading_to(layers))
    part = replace(recorded, header=replace(recorded.header, layers=layers), visited=visited)
    plain = part.plainly()
    begin = time.process_time()
    reference = paths_of(plain)
    slow = time.process_time() - begin
    fast = float(np.median([seconds_of(lambda: paths_of(part)) for _ in range(REPEATS)]))
    return {
        **asdict(check),
        "equal": same_sets(paths, reference),
        "images": len(paths),
        "compared_layers": len(layers),
        "of_layers": len(recorded.header.layers),
        "network_layers": len(recorded.plan.layers),
        "synapses": sum(len(rows.values) for rows in reference.synapses.values()),
        "compiled_ms": 1e3 * fast,
        "reference_ms": 1e3 * slow,
    }


def main() -> None:
    """Compare what the first argument says."""
    torch.set_num_threads(1)
    checks = [Check(**one) for one in json.loads(sys.argv[1])]
    network = load_network(checks[0].network, 1, checks[0].seed)
    graph = effpath.capture(network.model, network.images)
    for check in checks:
        print(json.dumps(compare(check, graph, network.images)), flush=True)


if __name__ == "__main__":
    main()
