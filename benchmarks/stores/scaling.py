"""How much faster several processes build a store than one.

    EFFPATH_DATA=DIR python -m benchmarks.stores.scaling --output docs/results/stores/scaling.json

The same images, built by ``--engine processes`` with 1, 2 … workers of one thread each. The clock runs while
shards are built, from when all workers have begun to the end of the last: not while processes start. All stores
must have the same bytes. Beside it stands what the machine gives: two processes that only compute.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.page import table
from benchmarks.stores.digits import contents
from benchmarks.stores.result import source, write_result
from benchmarks.stores.speed import job_of, train
from effpath.class_paths.folder.build import fill_store
from effpath.class_paths.folder.engines import Processes
from effpath.cli.work import Job

Row = dict[str, Any]
SPINS = 20_000_000


def build(job: Job, workers: int, folder: Path) -> Row:
    """Build the store, and return the seconds and images between the first batch and the last."""
    work = job.open()
    elsewhere = replace(job, structure=work.graph.structure)
    seen: list[tuple[float, int]] = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with closing(Processes(workers)) as engine:
        fill_store(
            folder, work, job.options, engine=engine, open_work=elsewhere,
            progress=lambda done, total: seen.append((time.perf_counter(), done)),
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    everyone = [each for each in seen if each[1] >= workers * job.options.shard_size // 2]  # all have begun
    wall, images = seen[-1][0] - everyone[0][0], seen[-1][1] - everyone[0][1]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"workers": workers, "wall_s": round(wall, 2), "images_per_s": round(images / wall, 2),
            "cpu_s": round(cpu, 1)}  # fmt: skip


def spin(count: int) -> float:
    """Return the seconds that a loop takes."""
    start, total = time.perf_counter(), 0
    for each in range(count):
        total += each
    return time.perf_counter() - start


def machine_gives(workers: int, spins: int) -> float:
    """Return how many times more so many processes get done than one, where they only compute."""
    with get_context("spawn").Pool(workers) as pool:
        pool.map(spin, [spins // 10] * workers, chunksize=1)
        alone = pool.apply(spin, (spins,))
        together = max(pool.map(spin, [spins] * workers, chunksize=1))
    return workers * alone / together


def measure(job: Job, workers: Sequence[int], spins: int = SPINS) -> Row:
    """Return a row for each number of workers."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for count in workers:
            row = build(job, count, Path(name) / str(count))
            row["speedup"] = round(row["images_per_s"] / (rows or [row])[0]["images_per_s"], 3)
            row["machine"] = round(machine_gives(count, spins), 3)
            rows.append(row)
        stores = [contents(Path(name) / str(count)) for count in workers]
    if any(store != stores[0] for store in stores):
        raise SystemExit("stores with other bytes; nothing is reported")
    return {"rows": rows}


def shown(found: Row) -> str:
    """Return images per second of several processes."""
    lines = [
        [f"{row['workers']}", f"{row['images_per_s']:.4g}", f"**{row['speedup']:.3g}**", f"{row['machine']:.3g}",
         f"{row['cpu_s']:.4g}"]
        for row in found["rows"]
    ]  # fmt: skip
    heads = ["processes", "images per s", "× one", "× one, of a loop that only computes", "processors, s"]
    return table(heads, lines) + f"\n\n{found['images']:,} images of {found['case']}. {source(found)}"


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("mnist", "cifar10"), default="cifar10")
    parser.add_argument("--per-class", type=int, default=200, help="images")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "lenet.safetensors"
        if asked.case == "mnist":
            train(weights)
        job = job_of(asked.case, weights, asked.per_class)
        job = replace(job, options=replace(job.options, shard_size=64))
        found = measure(job, asked.workers)
    about = {"case": asked.case, "images": 10 * asked.per_class}
    write_result(asked.output, "scaling", {**about, **found}, research=True)


if __name__ == "__main__":
    main()
