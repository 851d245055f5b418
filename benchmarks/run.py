"""Time of an extraction as a multiple of the same network's forward pass, in one run, one thread.

    python benchmarks/run.py --networks lenet5 torchvision:alexnet --batch 1 8 --output results.json

Networks are ``lenet5`` (trained on scikit-learn's digits, 8×8), ``torchvision:NAME`` (random weights from the
seed), or ``data:NAME``, a trained network of the folder $EFFPATH_DATA. Images are random but for lenet5. Process
time, median and quartiles.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from effpath.cache import atomic_write
from effpath.data import load_data
from effpath.extract import record
from effpath.kernels.options import make_options
from effpath.lenet import LeNet5
from effpath.models import load_model
from effpath.progress import track
from effpath.train import train_classifier


def network(name: str, batch: int, seed: int) -> tuple[nn.Module, Tensor]:
    """Return a network and a batch of images for it."""
    kind, _, rest = name.partition(":")
    torch.manual_seed(seed)
    if kind == "lenet5":
        digits, model = load_data("digits"), LeNet5(image_size=8)
        train_classifier(
            model,
            digits.train_images,
            digits.train_labels,
            epochs=20,
            seed=seed,
            batch_size=64,
            learning_rate=1e-2,
        )
        return model, digits.test_images[:batch]
    if kind == "torchvision":
        model = importlib.import_module("torchvision.models").get_model(rest, weights=None).eval()
        return model, torch.rand(batch, 3, 224, 224)
    if kind == "data":
        model = load_model(f"{os.environ['EFFPATH_DATA']}/load.py:{rest}")
        return model, torch.rand(batch, *model.input_size)
    raise SystemExit(f"unknown network {name!r}; lenet5, torchvision:NAME or data:NAME")


def seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return found


def measure(name: str, batch: int, *, layers: int | None, theta: float, repeats: int, seed: int) -> dict[str, Any]:
    model, images = network(name, batch, seed)
    graph = effpath.capture(model, images[:1])
    options = make_options("default", theta=theta)
    recorded = record(graph, images, options=options, layers=layers)
    paths = recorded.paths()
    for i in range(batch):  # no number before the sets are right: a batch must give what its images give
        if paths[i] != recorded.select(slice(i, i + 1)).paths()[0]:
            raise SystemExit(f"{name}: image {i} has another path alone than in the batch; nothing is reported")
    forward = np.array(seconds(lambda: graph.run(images), repeats))
    walk = np.array(seconds(recorded.paths, repeats))
    return {
        "network": name,
        "batch": batch,
        "layers": layers or "all",
        "theta": theta,
        "forward_ms": round(1e3 * float(np.median(forward)), 2),
        "walk_ms": round(1e3 * float(np.median(walk)), 2),
        "walk_ms_quartiles": (1e3 * np.quantile(walk, [0.25, 0.75])).round(2).tolist(),
        "walk_by_forward": round(float(np.median(walk) / np.median(forward)), 2),
        "synapses_an_image": round(sum(len(r.values) for r in paths.synapses.values()) / batch),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["lenet5", "torchvision:alexnet"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--layers", type=int, help="the last so many; all if not given")
    parser.add_argument("--theta", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a .json file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    cases = [(name, batch) for name in options.networks for batch in options.batch]
    with track("benchmark") as progress:
        for name, batch in cases:
            rows.append(
                measure(
                    name,
                    batch,
                    layers=options.layers,
                    theta=options.theta,
                    repeats=options.repeats,
                    seed=options.seed,
                )
            )
            print(json.dumps(rows[-1]))
            progress(len(rows), len(cases))
    table = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "effpath": effpath.__version__,
        },
        "rows": rows,
    }
    if options.output:
        text = json.dumps(table, indent=1) + "\n"
        atomic_write(options.output, lambda file: file.write_text(text, encoding="utf-8") and None)


if __name__ == "__main__":
    main()
