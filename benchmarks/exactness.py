"""The correctness gate: the compiled backend's sets are the reference's, on trained networks and real images.

    EFFPATH_DATA=DIR python benchmarks/exactness.py --output docs/results/exactness.json

Networks are those of the folder $EFFPATH_DATA, images its Imagenette validation pictures, spread over the classes.
Every layer, pooling and sum is compared: synapses, neurons, weights and pixels of every image, from the same
recorded activations. A row is written as soon as it is known; a run that was stopped goes on where it was, on the
same machine with the same versions (delete the file after a change of the code). A row that is not equal names the
first image, layer and level that differ, and the command fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import effpath
from effpath.files.cache import atomic_write
from effpath.files.progress import track
from effpath.kernels.options import make_options
from effpath.models import load_model
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import paths_of

NETWORKS = ("alexnet_imagenette", "googlenet_imagenette", "resnet50_imagenette")
THETAS = (0.3, 0.5, 0.9)
PRESETS = ("paper", "authors")
Row = dict[str, Any]


def images_for(folder: Path, side: int, count: int) -> Tensor:
    """Return validation images of different classes, float [count, 3, side, side]."""
    spec = importlib.util.spec_from_file_location("effpath_data_load", folder / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pictures, labels = module.load_images("imagenette", "val", size=side, per_class=-(-count // 10))
    order = np.argsort([(labels[:i] == label).sum() for i, label in enumerate(labels)], kind="stable")
    images: Tensor = module.to_tensor(pictures[order[:count]])
    return images


def differences(recorded: Recorded) -> Iterator[tuple[str, int]]:
    """Compare the walks of both backends over one image; yield what differs, and the size of what does not."""
    compiled, reference = paths_of(recorded), paths_of(recorded.plainly())
    for level in ("synapses", "neurons", "weights"):
        found = compiled.ragged(level)
        for key, rows in reference.ragged(level).items():
            same = np.array_equal(found[key][0], rows[0])
            yield (level if same else f"{level} of {key}"), (len(rows[0]) if same else -1)
    assert compiled.pixels is not None
    assert reference.pixels is not None
    same = np.array_equal(compiled.pixels[0], reference.pixels[0])
    yield "pixels", len(reference.pixels[0]) if same else -1


def compare(name: str, graph: effpath.Graph, images: Tensor, preset: str, theta: float) -> Row:
    """Return the row of one network, preset and θ."""
    options = make_options(preset, theta=theta)
    row: Row = {"network": name, "preset": preset, "theta": theta, "images": 0}
    row |= {"synapses": 0, "neurons": 0, "weights": 0, "pixels": 0, "equal": True}
    for i in range(len(images)):
        recorded = record(graph, images[i : i + 1], options=options, include_auxiliary=True)
        for what, size in differences(recorded):
            if size < 0:
                return row | {"equal": False, "differs": f"image {i}: {what}"}
            row[what] += size
        row["images"] += 1
    return row


def about() -> Row:
    """Return machine and versions."""
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numba": version("numba"),
            "effpath": effpath.__version__,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--thetas", nargs="+", type=float, default=THETAS)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--output", type=Path, required=True, help="a .json file; rows that are there are kept")
    options = parser.parse_args()
    if "EFFPATH_DATA" not in os.environ:
        raise SystemExit("EFFPATH_DATA is not set: the folder with load.py, trained networks and images")
    folder = Path(os.environ["EFFPATH_DATA"])
    torch.set_num_threads(1)
    table = about() | {"rows": []}
    if options.output.exists():
        before = json.loads(options.output.read_text(encoding="utf-8"))
        if any(before[key] != table[key] for key in ("machine", "versions")):
            raise SystemExit(f"{options.output} was made by another machine or versions; name another file")
        table = before
    cases = list(product(options.networks, options.presets, options.thetas))
    known = {(r["network"], r["preset"], r["theta"]) for r in table["rows"] if r["images"] >= options.images}
    with track("gate") as progress:
        for name in options.networks:
            wanted = [case for case in cases if case[0] == name and case not in known]
            if not wanted:
                continue
            model = load_model(f"{folder}/load.py:{name}")
            images = images_for(folder, model.input_size[-1], options.images)
            graph = effpath.capture(model, images[:1])
            for case in wanted:
                row = compare(name, graph, images, *case[1:])
                print(json.dumps(row), flush=True)
                table["rows"] = [r for r in table["rows"] if (r["network"], r["preset"], r["theta"]) != case] + [
                    row
                ]
                text = json.dumps(table, indent=1) + "\n"
                atomic_write(
                    options.output, lambda file, text=text: file.write_text(text, encoding="utf-8") and None
                )
                progress(len(table["rows"]), len(cases))
    unequal = [r for r in table["rows"] if not r["equal"]]
    if unequal:
        sys.exit(f"{len(unequal)} of {len(table['rows'])} rows differ from the reference")


if __name__ == "__main__":
    main()
