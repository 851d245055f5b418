"""Kill the command that builds a store at random moments, and go on each time: is the store that of a quiet run?

    python -m benchmarks.stores.kills --engine processes --output docs/results/stores/kills_processes.json

SIGKILL, first to the command itself, which is then given again, until it was killed so often; then to one of its
workers, whose shard is built again by the command that goes on. Moments are uniform over the time of a quiet run,
gaps between the workers' exponential. Whatever is on the disk after a kill must open, and every byte of it be as
it was written; when the command has come to its end, the files must be those of the quiet run, byte for byte, and
sets, use counts and numbers of images those of `build_class_paths`. Each of the two is written as soon as it is
finished, and an output that has one of them is completed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import effpath
from benchmarks.page import table
from benchmarks.same import same_class_paths
from benchmarks.stores.digits import DigitsJob, contents
from benchmarks.stores.result import source, write_result
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.verify import verify
from effpath.files.progress import track

WORKER = (b"spawn_main", b"ray::")  # what the command line of a worker has, by engine
SERVICE = b"Agent"  # what that of a service of Ray has, without which its node ends
KINDS = ("driver", "worker")
Row = dict[str, Any]
LONGEST = 600  # seconds that a command may take


class Kills:
    """Runs of one command, which are killed.

    Attributes:
        job: what is built.
        engine, workers: by what.
        folder: for stores.
        moments: where random numbers come from.
        whole: the files of a quiet run.
        runs, ends: commands that were given, and stores that were complete in the end, with the same bytes.
        seconds: how long that took.
        found: how often a kill came when: before the store was there, while shards were built, while classes were
            united, or when all was done.
    """

    def __init__(self, job: DigitsJob, engine: str, workers: int | None, folder: Path, seed: int) -> None:
        """Build the store once, undisturbed."""
        self.job, self.engine, self.workers, self.folder = job, engine, workers, folder
        self.moments, self.found, self.said = random.Random(seed), Counter[str](), folder / "said.txt"
        self.whole: dict[str, bytes] = {}
        self.runs = self.ends = 0
        start = time.perf_counter()
        self._end(folder / "quiet")
        self.seconds = time.perf_counter() - start
        self.whole = contents(folder / "quiet")

    def driver(self, count: int) -> None:
        """Kill the command so often, and give it again."""
        number, killed = 0, 0
        with track(f"{self.engine}: killing the command") as progress:
            while killed < count:
                store = self.folder / f"driver{number}"
                with self._start(store) as process:
                    try:
                        process.wait(self.moments.uniform(0, self.seconds))
                    except subprocess.TimeoutExpired:
                        process.kill()
                self.runs += 1
                if process.returncode == -signal.SIGKILL:
                    killed += 1
                    self.found[self._when(store)] += 1
                    progress(killed, count)
                else:
                    self._check(process.returncode, store)
                    number += 1
            self._end(store)

    def worker(self, count: int) -> None:
        """Kill so many workers, and let the command go on."""
        number, killed = 0, 0
        with track(f"{self.engine}: killing workers") as progress:
            while killed < count:
                store = self.folder / f"worker{number}"
                with self._start(store) as process:
                    while killed < count:
                        try:
                            process.wait(self.moments.expovariate(4 / self.seconds))
                            break
                        except subprocess.TimeoutExpired:
                            workers = workers_of(process.pid)
                        if workers and kill(self.moments.choice(workers)):
                            killed += 1
                            self.found[self._when(store)] += 1
                            progress(killed, count)
                    process.wait(LONGEST)
                self.runs += 1
                self._check(process.returncode, store)
                number += 1

    def _start(self, store: Path) -> subprocess.Popen[bytes]:
        command = self.job.command(store, self.engine, self.workers)
        with self.said.open("wb") as said:  # of the last command; a pipe that nobody reads would fill
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)

    def _end(self, store: Path) -> None:
        """Let the command come to its end."""
        with self._start(store) as process:
            process.wait(LONGEST)
        self._check(process.returncode, store)

    def _check(self, code: int, store: Path) -> None:
        if code:
            raise SystemExit(f"the command ended with {code}: {self.said.read_text()}; nothing is reported")
        if self.whole and contents(store) != self.whole:
            raise SystemExit(f"{store} has other bytes than the store of a quiet run; nothing is reported")
        self.ends += 1

    def _when(self, store: Path) -> str:
        """Return how far a store is; every byte that is there must be as it was written."""
        if not store.exists():
            return "before the store was there"
        wrong = verify(store)
        if wrong:
            raise SystemExit(f"after a kill: {wrong[0]}; nothing is reported")
        opened = Store.open(store)
        if opened.manifest.shards:
            return "when all was done"
        written = list((store / "classes").glob("*.safetensors"))
        return "while classes were united" if written else "while shards were built"


def workers_of(process: int) -> list[int]:
    """Return the workers among all that a process has started, and these in turn."""
    found: list[int] = []
    try:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                line = Path(f"/proc/{child}/cmdline").read_bytes()
                found += [child] if any(part in line for part in WORKER) and SERVICE not in line else []
                found += workers_of(child)
    except OSError:  # it has ended
        pass
    return found


def kill(process: int) -> bool:
    """Kill a process; return whether it was there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def measure(
    engine: str, workers: int | None, count: int, seed: int, before: Row, keep: Callable[[Row], None]
) -> Row:
    """Return what became of a store that was killed so often, of each kind; what was found before is kept.

    Args:
        engine, workers: that build the store.
        count: of the kills.
        seed: of their moments.
        before: what an earlier run has found of some kinds.
        keep: called with all that is found after each kind.
    """
    asked = {"engine": engine, "workers": workers, "seed": seed}
    with tempfile.TemporaryDirectory() as name:
        job = DigitsJob.make(Path(name))
        kills = Kills(job, engine, workers, Path(name), seed)
        graph, built = job.in_memory()
        if not same_class_paths(effpath.load_class_paths(Path(name) / "quiet", graph), built):
            raise SystemExit("the store differs from the class paths built in memory; nothing is reported")
        found: Row = {
            **asked, "images": built.seen, "shards": len(Store.open(Path(name) / "quiet").manifest.shards),
            "quiet_s": round(kills.seconds, 1),
        }  # fmt: skip
        if {name: before.get(name) for name in asked} == asked:
            found |= {kind: before[kind] for kind in KINDS if before.get(kind, {}).get("kills") == count}
        for kind in reversed(KINDS):  # the quicker one first
            if kind in found or (kind == "worker" and engine == "inline"):
                continue
            kills.found, kills.runs, kills.ends = Counter(), 0, 0
            {"driver": kills.driver, "worker": kills.worker}[kind](count)
            found[kind] = {
                "kills": count, "runs": kills.runs, "equal_stores": kills.ends, "when": dict(kills.found),
            }  # fmt: skip
            keep(found)
    return found


def shown(found: list[Row]) -> str:
    """Return what became of killed runs."""
    lines = [
        [each["engine"], kind, f"{each[kind]['kills']}", f"{each[kind]['runs']}", f"{each['images']:,}",
         f"{each['shards']}", "the same bytes"]
        for each in found for kind in KINDS if kind in each
    ]  # fmt: skip
    heads = ["engine", "killed", "SIGKILLs", "commands", "images", "shards", "store in the end"]
    return table(heads, lines) + "\n\n" + " ".join(source(each) for each in found)


def main() -> None:
    """Kill, compare, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="processes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20, help="of the command, and of a worker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    workers = None if asked.engine == "inline" else asked.workers
    before = json.loads(asked.output.read_text()) if asked.output.exists() else {}
    keep = partial(write_result, asked.output, "kills")
    measure(asked.engine, workers, asked.kills, asked.seed, before, keep)


if __name__ == "__main__":
    main()
