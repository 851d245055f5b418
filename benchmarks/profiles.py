"""What a detector of each profile of cost takes beside the forward pass of its network, on photographs.

    EFFPATH_DATA=DIR python -m benchmarks.profiles --output docs/results/profiles.json

One thread, batches of 8 images that the detector has not seen. Before anything is timed all is run once. In each
round the network is run, without gradients, and then each detector scores the same batch, so that what else the
machine does falls on all; a time is the median of the rounds, a ratio the median of the rounds' ratios. What the
output has of some networks and the same kinds is kept. The kind ``paired`` asks `AUXILIARY`, whose pass counts.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import effpath
from benchmarks.machine import load_average, machine, versions
from benchmarks.networks import imagenette, research_loader
from effpath.detect.signs.profiles import PROFILES
from effpath.files.cache import atomic_write
from effpath.files.progress import track

NETWORKS = ("alexnet_imagenette", "googlenet_imagenette", "resnet50_imagenette")
AUXILIARY = "resnet18_imagenette"  # the network that PID asks on photographs
FOR_PATHS, FOR_FIT, BATCH = 24, 16, 8  # images
ROUNDS = 7
Row = dict[str, Any]


def measure(name: str, kinds: Sequence[str], rounds: int) -> Row:
    """Return the milliseconds of a batch, of the forward pass and of each profile, and the profiles' ratios."""
    model, other = (research_loader().load_model(each) for each in (name, AUXILIARY))
    pixels = imagenette(FOR_PATHS + FOR_FIT + BATCH, model.input_size[-1])
    known, taught, batch = pixels.split([FOR_PATHS, FOR_FIT, BATCH])
    graph = effpath.capture(model, pixels[:1])
    options = effpath.BuildOptions(batch_size=BATCH)
    class_paths = effpath.build_class_paths(graph, known, graph.predict(known), options=options)
    auxiliary = effpath.capture(other, pixels[:1])
    calls: dict[str, Callable[[], object]] = {"forward": lambda: model(batch)}
    for kind in kinds:
        asked = auxiliary if PROFILES[kind].asks else None
        detector = effpath.Detector(graph, class_paths, kind=kind, auxiliary=asked)
        detector.collect(known, batch_size=BATCH).fit(detector.features(taught, batch_size=BATCH))
        calls[kind] = lambda detector=detector: detector.score(batch)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {each: [] for each in calls}
    with torch.inference_mode(), track(f"{name}: rounds") as progress:
        for at in range(rounds + 1):
            for each, call in calls.items():
                start = time.perf_counter()
                call()
                if at:  # the first is for compiling and warming up
                    seconds[each].append(time.perf_counter() - start)
            progress(at + 1, rounds + 1)
    forward = np.array(seconds["forward"])
    return {
        "ms": {each: round(1000 * float(np.median(found)), 1) for each, found in seconds.items()},
        "ratio": {kind: round(float(np.median(np.array(seconds[kind]) / forward)), 2) for kind in kinds},
        "load_average": load_average(),
    }


def main() -> None:
    """Measure all networks, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="of the folder $EFFPATH_DATA")
    parser.add_argument("--kinds", nargs="+", default=list(PROFILES), choices=PROFILES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    before = json.loads(asked.output.read_text(encoding="utf-8")) if asked.output.exists() else {}
    kept = {name: row for name, row in before.get("networks", {}).items() if [*row["ratio"]] == asked.kinds}
    result: Row = {
        "command": f"EFFPATH_DATA=DIR python -m benchmarks.profiles {shlex.join(sys.argv[1:])}",
        "machine": machine(),
        "versions": versions(["torch", "numpy", "numba"]),
        "threads": 1, "batch": BATCH, "images": {"known": FOR_PATHS, "fit": FOR_FIT}, "rounds": asked.rounds,
        "networks": kept,
    }  # fmt: skip
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    for name in asked.networks:
        if name not in result["networks"]:
            result["networks"][name] = measure(name, asked.kinds, asked.rounds)
            text = json.dumps(result, indent=1) + "\n"
            atomic_write(asked.output, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
    print(json.dumps(result["networks"], indent=1))


if __name__ == "__main__":
    main()
