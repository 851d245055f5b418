"""How long an explanation takes, on trained ImageNet networks: one clean and one attacked photograph.

    EFFPATH_DATA=DIR python -m benchmarks.explain --output docs/results/explain.json

The detector is of kind surprise, its class paths cover all layers and Imagenette's ten classes; images are of
the validation set. A time is the wall clock of `effpath.explain` and of its page, with all cores: the first call,
which includes what a process prepares once, and the median of three more.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import effpath
from benchmarks.machine import load_average, machine, versions
from benchmarks.networks import imagenette, research_loader
from effpath.files.cache import atomic_write
from effpath.files.progress import track
from effpath.views.page.pages import explanations_page

NETWORKS = ("alexnet_imagenette", "resnet50_imagenette")
FOR_PATHS, FOR_FIT, FOR_THRESHOLD, LEFT = 50, 10, 20, 4  # images
ROUNDS = 3
Row = dict[str, Any]


def prepared(name: str, seed: int) -> tuple[effpath.Detector, dict[str, Tensor]]:
    """Return a calibrated detector of a network, and a clean and an attacked image that it has not seen."""
    model = research_loader().load_model(name)
    images = imagenette(FOR_PATHS + FOR_FIT + FOR_THRESHOLD + LEFT, model.input_size[-1])
    parts = images.split([FOR_PATHS, FOR_FIT, FOR_THRESHOLD, LEFT])
    graph = effpath.capture(model, images[:1])
    labels = [torch.as_tensor(graph.predict(part)) for part in parts]
    class_paths = effpath.build_class_paths(graph, parts[0], labels[0])
    fooling = [
        effpath.attack(model, parts[at], labels[at], "PGD", settings={"epsilon": 2 / 255}, seed=seed).fooling
        for at in (1, 3)
    ]
    detector = effpath.Detector(graph, class_paths, kind="surprise", seed=seed).fit(parts[1], fooling[0])
    detector.calibrate(parts[2], fpr=0.05)
    return detector, {"clean": parts[3][:1], "attacked": fooling[1][:1]}


def timed(detector: effpath.Detector, image: Tensor, network: str) -> Row:
    """Return seconds of the first and of further explanations with their pages, and what they are."""
    seconds = []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        found = effpath.explain(detector, image)
        page = explanations_page(found, network)
        seconds.append(time.perf_counter() - start)
    return {
        "first_s": round(seconds[0], 3),
        "then_s": round(float(np.median(seconds[1:])), 3),
        "page_bytes": len(page.encode()),
        "layers": len(found[0].layers),
        "flagged": found[0].verdict.flagged,
    }


def main() -> None:
    """Measure all networks, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=0, help="of attacks and detectors")
    asked = parser.parse_args()
    result: Row = {
        "command": f"python -m benchmarks.explain --output {asked.output} --seed {asked.seed}",
        "machine": machine(),
        "versions": versions(["torch", "numpy", "numba"]),
        "threads": torch.get_num_threads(),
        "images": {"class paths": FOR_PATHS, "fit": FOR_FIT, "threshold": FOR_THRESHOLD},
        "rounds": ROUNDS,
        "networks": {},
    }
    for name in NETWORKS:
        with track(name) as progress:
            detector, images = prepared(name, asked.seed)
            rows = {kind: timed(detector, image, name) for kind, image in images.items()}
            result["networks"][name] = {**rows, "load_average": load_average()}
            progress(1, 1)
    text = json.dumps(result, indent=1) + "\n"
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(asked.output, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(text, end="")


if __name__ == "__main__":
    main()
