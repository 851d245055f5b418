"""How long class paths take to build through a store, beside the same in memory: MNIST and CIFAR-10.

    EFFPATH_DATA=DIR python -m benchmarks.stores.speed --output docs/results/stores/speed.json

Each run is a process of its own, which opens network and images as ``effpath profile`` does, then builds all
levels with use counts: into a store, or in memory and then to one file. Time is that of building and writing, by
the clock and of the processor; memory is the most that the process held. Both must give the same class paths.
LeNet-5 is trained on some of MNIST's images first; CIFAR-10's ResNet-20 is trained already.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import effpath
from benchmarks.networks import research_folder
from benchmarks.page import table
from benchmarks.same import same_class_paths
from benchmarks.stores.child import OWN, of_peaks, run
from benchmarks.stores.result import mb, source, write_result
from effpath.class_paths.build import build_class_paths
from effpath.class_paths.folder.build import fill_store
from effpath.class_paths.folder.options import StoreOptions
from effpath.class_paths.store import save_class_paths
from effpath.cli.options import Extraction, Source
from effpath.cli.work import Job
from effpath.data import load_data
from effpath.demo.network import trained_lenet
from effpath.files.progress import track

WAYS = ("memory", "store")
TRAINED_ON = 10_000  # images of MNIST
Row = dict[str, Any]


def job_of(case: str, weights: Path, per_class: int | None) -> Job:
    """Return network and images of a case."""
    data, options = research_folder(), StoreOptions(batch_size=8)
    if case == "mnist":
        return Job(Source("effpath.demo.lenet:LeNet5", weights), f"mnist:{data / 'mnist'}", Extraction(), options,
                   per_class)  # fmt: skip
    source = Source(f"{data / 'load.py'}:cifar10_resnet20")
    return Job(source, f"cifar10:{data / 'cifar10'}", Extraction(), options, per_class)


def train(weights: Path) -> None:
    """Train LeNet-5, and write its weights."""
    data = load_data(f"mnist:{research_folder() / 'mnist'}")
    with track(f"training LeNet-5 on {TRAINED_ON} images") as progress:
        images, labels = data.train_images[:TRAINED_ON], data.train_labels[:TRAINED_ON]
        model = trained_lenet(images, labels, classes=10, data="mnist", progress=progress)
    save_file(model.state_dict(), weights)


def build(way: str, job: Job, output: Path) -> Row:
    """Build one way, and return the seconds that took."""
    torch.set_num_threads(1)
    work = job.open()
    effpath.extract(work.graph, work.images[:1])  # compiled, or read from the cache, once
    wall, process = time.perf_counter(), time.process_time()
    if way == "store":
        fill_store(output, work, job.options)
    else:
        built = build_class_paths(
            work.graph, work.images, work.labels, options=job.options, description=description_of(work)
        )
        save_class_paths(built, output)
    return {"wall_s": time.perf_counter() - wall, "process_s": time.process_time() - process}


def description_of(work: Any) -> effpath.Description:
    """Return what the images of an open job are."""
    return effpath.Description(work.empty.names, work.empty.data, work.origin, work.rows)


def measure(case: str, rounds: int, per_class: int | None, folder: Path) -> Row:
    """Return times and memory of both ways, each run so often, in turn."""
    weights = folder / "lenet.safetensors"
    if case == "mnist" and not weights.exists():
        train(weights)
    runs: dict[str, list[Row]] = {way: [] for way in WAYS}
    with track(case) as progress:
        for done in range(rounds):
            for way in WAYS:
                output = folder / f"{case}{done}{'.safetensors' if way == 'memory' else ''}"
                child = ["-m", "benchmarks.stores.speed", "--child", way, "--cases", case, "--output", output]
                child += ["--weights", weights, *(["--per-class", per_class] if per_class else [])]
                ran = run(child)
                runs[way].append({**json.loads(ran.said.splitlines()[-1]), "peak_bytes": ran.peak_bytes})
                progress(2 * done + 1 + WAYS.index(way), 2 * rounds)
    job = job_of(case, weights, per_class)
    graph = job.open().graph
    one, other = (effpath.load_class_paths(folder / f"{case}0{end}", graph) for end in (".safetensors", ""))
    if not same_class_paths(one, other):
        raise SystemExit(f"{case}: the store has other class paths than memory; nothing is reported")
    found: Row = {"images": one.seen, "used": one.images}
    for way, rows in runs.items():
        best = {key: min(row[key] for row in rows) for key in rows[0]}
        output = folder / f"{case}0{'.safetensors' if way == 'memory' else ''}"
        files = output.rglob("*") if way == "store" else [output]
        found[way] = {
            **{key: round(value, 2) for key, value in best.items() if key != "peak_bytes"},
            "images_per_s": round(one.seen / best["wall_s"], 1), "peak_bytes": best["peak_bytes"],
            "bytes": sum(file.stat().st_size for file in files if file.is_file()),
            "rounds": [round(row["process_s"], 2) for row in rows],
        }  # fmt: skip
    for clock in ("wall_s", "process_s"):
        found[f"store ÷ memory, {clock}"] = round(found["store"][clock] / found["memory"][clock], 3)
    return found


def shown(found: Row) -> str:
    """Return images per second, memory and bytes of both ways."""
    lines = []
    for case, row in found["cases"].items():
        for way in ("memory", "store"):
            each = row[way]
            ratio = f"**{row['store ÷ memory, process_s']:.3g}** ({row['store ÷ memory, wall_s']:.3g})"
            lines.append([
                case, f"{row['images']:,}", way, f"{each['wall_s']:,.4g}", f"{each['process_s']:,.4g}",
                f"{each['images_per_s']:,.4g}", mb(each["peak_bytes"]), mb(each["bytes"]),
                ratio if way == "store" else "",
            ])  # fmt: skip
    heads = ["data", "images", "built in", "wall, s", "processor, s", "images per s", "most memory, MB",
             "on disk, MB", "÷ memory, processor (wall)"]  # fmt: skip
    return table(heads, lines) + f"\n\nBoth ways gave the same class paths. {of_peaks(found)}{source(found)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases, and write the result; or, in a process of its own, one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["mnist", "cifar10"])
    parser.add_argument("--rounds", type=int, default=2, help="of each way; the least time counts")
    parser.add_argument("--per-class", type=int, help="images; all if not given")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        print(json.dumps(build(asked.child, job_of(asked.cases[0], asked.weights, asked.per_class), asked.output)))
        return
    with tempfile.TemporaryDirectory() as name:
        cases = {case: measure(case, asked.rounds, asked.per_class, Path(name)) for case in asked.cases}
    about = {**OWN, "rounds": asked.rounds, "per_class": asked.per_class, "threads": 1, "trained_on": TRAINED_ON}
    write_result(asked.output, "speed", {**about, "cases": cases}, ("torch", "numpy", "numba"), research=True)


if __name__ == "__main__":
    main()
