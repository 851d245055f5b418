"""What it takes to unite the shards of a class, by their number and size; a line through it.

    EFFPATH_DATA=DIR python -m benchmarks.stores.reduce --output docs/results/stores/reduce.json

Each shard has images of one Imagenette class, of AlexNet; 1, 2, 4 … 64 shards are united as a store does, from
files to a file, of the last three layers and of all. Process time of one processor, least of three. Synapses with
use counts and without, neurons and weights each have a line, of least squares over their rows, none of a, b and c
below 0: seconds = a + b × shards + c × ids in them. Neurons are dense, and kept as bits: 64 are united at once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

import effpath
from benchmarks.networks import research_folder
from benchmarks.page import table
from benchmarks.sets import load_images
from benchmarks.stores.result import source, write_result
from effpath.class_paths.build import BuildOptions, Work, prepare
from effpath.class_paths.folder.cut import cut
from effpath.class_paths.folder.sharing import Here
from effpath.class_paths.folder.tasks import MapShard, ReduceClass
from effpath.class_paths.store import WHAT
from effpath.files.progress import track
from effpath.files.sealed import SealedFile
from effpath.models import load_model

SHARDS = (1, 2, 4, 8, 16, 32, 64)
KINDS = {"without": ("synapses", False), "with counts": ("synapses", True), "neurons": ("neurons", False),
         "weights": ("weights", False)}  # fmt: skip
CASES = [(kind, layers, each) for kind in KINDS for layers in (3, None) for each in (1, 3)]
REPEATS = 3
Row = dict[str, Any]


def map_shards(work: Work, each: int, folder: Path) -> list[Path]:
    """Write shards of so many images, and return their files."""
    found = []
    for shard in cut(work, each, np.empty(0, np.int64)):
        found.append(folder / f"{shard.id}.safetensors")
        for _ in MapShard(Here(work), shard, found[-1], True)():
            pass
    return found


def ids_in(file: Path) -> int:
    """Return how many ids a file of class paths has."""
    found = 0
    with SealedFile(file, WHAT) as opened:
        for name in opened.names:
            kind = name.rpartition("/")[2]
            if kind in ("ids", "lows", "bits"):
                array = opened.array(name)
                found += int(np.bitwise_count(array).sum()) if kind == "bits" else len(array)
    return found


def reductions(work: Work, files: list[Path], shards: tuple[int, ...], folder: Path) -> list[Row]:
    """Return a row for each number of shards."""
    inside = [ids_in(file) for file in files]
    rows = []
    for count in shards:
        times = []
        for _ in range(REPEATS):
            target = folder / "united.safetensors"
            target.unlink(missing_ok=True)
            task = ReduceClass(Here(work.empty), 0, tuple((file, "") for file in files[:count]), target)
            start = time.process_time()
            for _ in task():
                pass
            times.append(time.process_time() - start)
        row = {
            "shards": count,
            "ids": sum(inside[:count]),
            "united": ids_in(target),
            "seconds": round(min(times), 5),
        }
        rows.append(row)
    return rows


def fit(rows: list[Row]) -> Row:
    """Return the line through rows, its residual and how far the worst row is from it."""
    terms = np.array([[1, row["shards"], row["ids"]] for row in rows], float)
    seconds = np.array([row["seconds"] for row in rows])
    weights = 1 / seconds  # so that small and large ones count alike
    found = nnls(terms * weights[:, None], np.ones(len(rows)))[0]
    relative = (terms @ found - seconds) / seconds
    return {
        "seconds": float(found[0]), "seconds_per_shard": float(found[1]), "seconds_per_id": float(found[2]),
        "residual": round(float(np.sqrt((relative**2).mean())), 3),
        "worst": round(float(np.abs(relative).max()), 3),
    }  # fmt: skip


def measure(network: str, shards: tuple[int, ...], cases: list[tuple[str, int | None, int]]) -> Row:
    """Return rows and a line for each kind of class paths."""
    model = load_model(f"{research_folder() / 'load.py'}:{network}")
    images = load_images(model, 0, max(shards) * max(each for _, _, each in cases))
    graph = effpath.capture(model, images[:1])
    right = graph.predict(images) == 0
    images = images[torch.as_tensor(right)]
    found: dict[str, list[Row]] = {}
    with track(f"{network}: shards") as progress:
        for done, (kind, layers, each) in enumerate(cases, 1):
            some, (level, counts) = images[: each * max(shards)], KINDS[kind]
            options = BuildOptions((level,), counts, 8)
            work = prepare(graph, some, [0] * len(some), layers=layers, options=options)
            work = replace(work, origin="images", rows=np.arange(len(some)))
            with tempfile.TemporaryDirectory() as name:
                files = map_shards(work, each, Path(name))
                kept = tuple(count for count in shards if count <= len(files))
                rows = reductions(work, files, kept, Path(name))
            found.setdefault(kind, []).extend({"layers": layers, "images": each, **row} for row in rows)
            progress(done, len(cases))
    lines = {kind: fit(rows) for kind, rows in found.items()}
    return {"network": network, "repeats": REPEATS, "lines": lines, "rows": found}


def shown(found: Row) -> str:
    """Return the lines of the reduce."""
    names = {"without": "synapses", "with counts": "synapses, with use counts"}
    lines = [
        [names.get(kind, kind), f"{len(found['rows'][kind])}", f"{1e3 * line['seconds']:.3g}",
         f"{1e3 * line['seconds_per_shard']:.3g}", f"{1e9 * line['seconds_per_id']:.3g}",
         f"{line['residual']:.1%}", f"{line['worst']:.0%}"]
        for kind, line in found["lines"].items()
    ]  # fmt: skip
    heads = ["sets", "rows", "a class, ms", "+ a shard, ms", "+ an id, ns", "residual", "worst row"]
    return table(heads, lines) + f"\n\nOne processor; residuals are relative. {source(found)}"


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="alexnet_imagenette")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    write_result(asked.output, "reduce", measure(asked.network, SHARDS, CASES), research=True)


if __name__ == "__main__":
    main()
