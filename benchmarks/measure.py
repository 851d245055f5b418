"""Measure one row, in a process of its own, so that threads and memory are the row's own.

    python -m benchmarks.measure '{"check": {"network": "lenet5"}, "batch": 8}'
    python -m benchmarks.measure '{"start": "lenet5"}'

Prints one line of JSON. Times are process time for one thread, wall time for more; rounds take each of the times
once, so that drift hits all alike. Run by `benchmarks.run`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from benchmarks.cases import Case, Check
from benchmarks.gate import products, recorded_for
from benchmarks.machine import forget_peak, load_average, memory
from benchmarks.networks import load_network
from effpath import ClassPaths
from effpath.detect import path_features
from effpath.graph.graph import Graph
from effpath.paths.batch import Paths
from effpath.walk.recording import record
from effpath.walk.visit import paths_of

ROUNDS = 3  # at least
UNION = 16  # images in the class path of a detector step


def rounds(works: dict[str, Callable[[], Any]], threads: int, most: int, budget: float) -> dict[str, list[float]]:
    """Return ms of each work, a number for each round.

    Args:
        works: by name; each is run once before.
        threads: process time for one, wall time for more.
        most, budget: rounds and seconds at most, but `ROUNDS` rounds in any case.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    begin = clock()
    for done in range(max(most, ROUNDS)):
        if done >= ROUNDS and clock() - begin > budget:
            break
        for name, work in works.items():
            start = clock()
            work()
            found[name].append(1e3 * (clock() - start))
    return found


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    """Return median and quartiles of each, ms, to four digits."""
    found: dict[str, Any] = {}
    for name, values in times.items():
        found[f"{name}_ms"] = digits(float(np.median(values)))
        found[f"{name}_ms_quartiles"] = [digits(float(q)) for q in np.quantile(values, [0.25, 0.75])]
    return found | {"rounds": len(next(iter(times.values())))}


def digits(value: float) -> float:
    """Return a number to four digits."""
    return float(f"{value:.4g}") if math.isfinite(value) else value


def bytes_of(paths: Paths) -> int:
    """Return the bytes of all arrays that paths hold; to be asked before their ids are."""
    rows = [*paths.synapses.values(), *paths.neurons.values(), *([paths.pixels] if paths.pixels else [])]
    return sum(a.nbytes for one in rows for a in vars(one).values() if isinstance(a, np.ndarray))


def measure(case: Case, most: int, budget: float) -> dict[str, Any]:
    """Return the row of a case."""
    torch.set_num_threads(case.threads)
    check = case.check
    network = load_network(check.network, case.batch, check.seed)
    model, images = network.model, network.images
    held = {"loaded": memory("VmRSS")}
    forget_peak()
    forward(model, images)
    held["forward"] = memory("VmHWM")
    graph = effpath.capture(model, images[:1])
    held["captured"] = memory("VmRSS")
    forget_peak()
    about = case.to_dict() | {"weights": network.weights, "pictures": network.pictures}
    if check.kind == "detector":
        found = detector_step(case, model, graph, images, most, budget)
    else:
        found = extraction(case, model, graph, images, held, most, budget)
    return about | found | {"load_average": load_average()}


def forward(model: nn.Module, images: Tensor) -> None:
    """Run the model as its user does."""
    with torch.no_grad():
        model(images)


def extraction(
    case: Case, model: nn.Module, graph: Graph, images: Tensor, held: dict[str, int], most: int, budget: float
) -> dict[str, Any]:
    """Time forward passes, recording, the walk and all of an extraction; count what it found."""
    check = case.check

    def extract() -> Paths:
        return effpath.extract(graph, images, preset=check.options, layers=check.layers, backend="compiled")

    usual = check.kind == "walk"
    paths = extract() if usual else paths_of(recorded_for(check, graph, images))
    held["extracted"] = memory("VmHWM")
    held["paths"] = bytes_of(paths)
    recorded = recorded_for(check, graph, images)
    paths = paths_of(recorded)
    for image in {0, case.batch - 1}:
        if paths[image] != paths_of(recorded.select(slice(image, image + 1)))[0]:
            raise SystemExit(f"image {image} has another path alone than in the batch; nothing is reported")
    counted = products(paths)
    neurons, synapses = (
        sum(int(rows.lengths.sum()) for rows in sets.values()) for sets in (paths.neurons, paths.synapses)
    )
    of_layers = len(paths.header.layers)
    del paths
    works: dict[str, Callable[[], Any]] = {
        "forward": lambda: forward(model, images),
        "folded": lambda: graph.run(images),
        "record": lambda: record(graph, images, options=check.options, layers=check.layers, backend="compiled"),
        "walk": lambda: paths_of(recorded),
    }
    if usual:
        works["extract"] = extract
    times = rounds(works, case.threads, most, budget)
    row = summary(times)
    walk = row["walk_ms"]
    return row | {
        "walk_by_forward": digits(walk / row["forward_ms"]),
        "walk_by_folded": digits(walk / row["folded_ms"]),
        "walk_us_a_neuron": digits(1e3 * walk / max(neurons, 1)),
        "of_layers": of_layers,
        "neurons": neurons,
        "synapses": synapses,
        "products": sum(counted.values()),
        "bytes": held,
    }


def detector_step(
    case: Case, model: nn.Module, graph: Graph, images: Tensor, most: int, budget: float
) -> dict[str, Any]:
    """Time what a detector does with a batch: forward pass, paths of ranks 1 and 2, similarity with class paths.

    Every class has the same path, that of `UNION` images: a thousand real ones would only cost memory.
    """
    check = case.check
    seen = load_network(check.network, UNION, check.seed).images
    union = effpath.extract(graph, seen, layers=check.layers, preset=check.options).union()
    class_paths = ClassPaths(union.header, ("synapses",), dict.fromkeys(range(graph.classes), union))
    features = path_features(graph, class_paths, images[:1])
    recorded = record(graph, images[:1], options=check.options, layers=check.layers).plainly()
    expected = []
    for rank in (1, 2):
        for key, rows in paths_of(recorded, rank=rank).synapses.items():
            used = set(rows[0].tolist())
            expected.append(len(used & set(union.synapses[key].ids.tolist())) / len(used) if used else np.nan)
    if not np.allclose(features.values[0], expected, rtol=1e-12, atol=0, equal_nan=True):
        raise SystemExit(f"similarities {features.values[0]} are not the reference's {expected}")
    works: dict[str, Callable[[], Any]] = {
        "forward": lambda: forward(model, images),
        "folded": lambda: graph.run(images),
        "step": lambda: path_features(graph, class_paths, images),
    }
    row = summary(rounds(works, case.threads, most, budget))
    return row | {
        "step_by_forward": digits(row["step_ms"] / row["forward_ms"]),
        "classes": graph.classes,
        "class_path_images": UNION,
        "class_path_synapses": sum(map(len, union.synapses.values())),
    }


def first_start(name: str, seed: int) -> dict[str, Any]:
    """Time the first and the second extraction of this process, in wall seconds, one thread."""
    torch.set_num_threads(1)
    network = load_network(name, 1, seed)
    graph = effpath.capture(network.model, network.images)
    found = {"network": name, "seed": seed}
    for key in ("first_s", "second_s"):
        begin = time.perf_counter()
        effpath.extract(graph, network.images)
        found[key] = digits(time.perf_counter() - begin)
    return found | {"load_average": load_average()}


def main() -> None:
    """Measure what the first argument says."""
    asked = json.loads(sys.argv[1])
    if "start" in asked:
        row = first_start(asked["start"], asked.get("seed", 0))
    else:
        case = Case(Check(**asked["check"]), asked.get("batch", 1), asked.get("threads", 1))
        row = measure(case, asked.get("rounds", 9), asked.get("seconds", 4.0))
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
