"""The paper's five networks and LeNet-5, extracted whole: from the command line and from Python.

    python studies/five_networks.py --output docs/results/five_networks.json --page docs/five-networks.md

Each network has the library's own name and size, and random weights from seed 0. The image is the photograph
``china.jpg`` of scikit-learn (for LeNet-5 the first of its digits). ``effpath extract`` writes the whole path to
a file; a Python program writes another; the arrays of both must be equal. Each runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from torch.nn.functional import interpolate

from effpath.files.progress import track
from page_parts import code, fill_file, markdown, part
from sources import parser, read_result, write_result

NETWORKS = (
    "effpath.demo.lenet:LeNet5", "torchvision:alexnet", "torchvision:vgg16", "torchvision:resnet50",
    "timm:resnetv2_50", "timm:inception_v4",
)  # fmt: skip
IN_PYTHON = """
import sys, time
import effpath
from effpath.images import format_of, load_images, resized
from effpath.models import load_model
from effpath.paths.export import export_paths

spec, size, image, output = sys.argv[1:]
model = load_model(spec)
shape = tuple(map(int, size.split(","))) if size else None
found, names = load_images([image], resized(format_of(model), shape))
images = found[:]
graph = effpath.capture(model, images)
effpath.extract(graph, images, preset="paper")
start = time.perf_counter()
paths = effpath.extract(graph, images, preset="paper")
print(time.perf_counter() - start, len(paths.header.layers))
export_paths(paths, output, names=names)
"""


def picture(folder: Path, spec: str) -> Path:
    """Write the image of a network into a folder and return the file."""
    if not spec.endswith("LeNet5"):
        file = folder / "china.png"
        Image.fromarray(load_sample_image("china.jpg")).save(file)
        return file
    file = folder / "digit.npy"
    digit = torch.from_numpy(load_digits().images[0]).float()[None, None] / 16
    np.save(file, interpolate(digit, (28, 28), mode="bilinear").numpy())
    return file


def measure(spec: str, folder: Path) -> dict[str, Any]:
    """Extract one network both ways and compare."""
    image, size = picture(folder, spec), "1,28,28" if spec.endswith("LeNet5") else ""
    files = folder / "command.npz", folder / "python.npz"
    command = ["-m", "effpath", "extract", spec, str(image), "-o", str(files[0]), "--preset", "paper", "--json"]
    command += ["--input-size", size] if size else []
    start = time.perf_counter()
    found = json.loads(run([sys.executable, *command]))
    seconds = time.perf_counter() - start
    once, layers = run([sys.executable, "-c", IN_PYTHON, spec, size, str(image), str(files[1])]).split()
    (row,) = found["images"]
    return {
        "network": spec, "layers": int(layers), "synapses": synapses(files[0]),
        **{f"{level}_density": row[f"{level}_density"] for level in ("synapses", "neurons", "weights")},
        "equal": equal(*files), "command_seconds": round(seconds, 2), "extract_seconds": round(float(once), 4),
    }  # fmt: skip


def run(command: Sequence[str]) -> str:
    """Return what a program prints; its errors end this one."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def synapses(file: Path) -> int:
    """Return the number of synapses of the path in a file."""
    with np.load(file) as arrays:
        return sum(int(arrays[name][-1]) for name in arrays if name.startswith("synapses/") and "offsets" in name)


def equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same arrays."""
    with np.load(one) as a, np.load(other) as b:
        names = set(a) - {"about"}
        return names == set(b) - {"about"} and all(np.array_equal(a[name], b[name]) for name in names)


@part
def whole_paths(results: Path) -> str:
    """The table of docs/five-networks.md, with what it was made on and by."""
    table = read_result(results / "five_networks.json")
    head = (
        "network", "layers", "synapses of the path", "density: synapses", "neurons", "weights", "files equal",
        "command, s", "`extract`, s",
    )  # fmt: skip
    rows = []
    for row in table["rows"]:
        densities = [f"{100 * row[f'{level}_density']:.3g} %" for level in ("synapses", "neurons", "weights")]
        name = "LeNet-5" if row["network"].endswith("LeNet5") else f"`{row['network']}`"
        rows.append([
            name, str(row["layers"]), f"{row['synapses']:,}", *densities,
            "yes" if row["equal"] else "NO", f"{row['command_seconds']:.1f}", f"{row['extract_seconds']:.3f}",
        ])  # fmt: skip
    made_on = f"{table['threads']} threads, {table['machine']}, torch {table['versions']['torch']}"
    return f"{markdown(head, rows)}\n\nWall time with {made_on}.\n\n{code(table['command'])}"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--output", type=Path, required=True, help="a .json file")
    made.add_argument("--page", type=Path, help="a .md file whose table is made again; docs/five-networks.md")
    made.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    options = made.parse_args()
    rows = []
    with track(f"{len(options.networks)} networks") as progress:
        for spec in options.networks:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(spec, Path(folder)))
            progress(len(rows), len(options.networks))
            print(json.dumps(rows[-1]), flush=True)
    machine = f"{os.cpu_count()} cores"
    write_result({"rows": rows, "threads": torch.get_num_threads(), "machine": machine}, options.output)
    if options.page:
        fill_file(options.page, options.output.parent)
    if not all(row["equal"] for row in rows):
        raise SystemExit("the files differ")


if __name__ == "__main__":
    main()
