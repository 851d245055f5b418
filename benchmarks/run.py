"""Time and memory of extractions, as multiples of the same network's forward pass in the same process.

    python -m benchmarks.run --output effpath-bench/bench.json --plot effpath-bench/bench.svg
    python -m benchmarks.run --read docs/results/bench.json --plot docs/results/bench.svg --page docs/speed.md

First what a first start costs, then for each network the gate (`benchmarks.gate`) and one row after another
(`benchmarks.measure`), each in a process of its own. What is done is in the output file at any time; the same
command goes on from there. With ``--read`` nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.cases import PARTS, Case, Check, cases_of, checks_of, networks
from benchmarks.machine import load_average, machine, source, versions
from benchmarks.page import write_page
from benchmarks.plot import plot
from effpath.files.cache import atomic_write
from effpath.files.progress import track

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "numpy", "numba")
Results = dict[str, Any]


def about(most: int, budget: float) -> Results:
    """Return what all rows of one file have in common."""
    return {
        "machine": machine(),
        "versions": versions(PACKAGES),
        "source": source(),
        "rounds": most,
        "seconds": budget,
    }


def read(file: Path) -> Results:
    """Return results."""
    found: Results = json.loads(file.read_text(encoding="utf-8"))
    return found


def opened(file: Path, common: Results, *, fresh: bool) -> Results:
    """Return the results so far, or begin new ones; those of another machine, code or setting are refused."""
    if fresh or not file.exists():
        return {**common, "wall_s": 0, "starts": [], "gates": [], "rows": []}
    found = read(file)
    other = [key for key, value in common.items() if found.get(key) != value]
    if other:
        raise SystemExit(f"{file} was measured with another {', '.join(other)}; begin anew with --fresh")
    return found


def save(results: Results, file: Path) -> None:
    """Write the results, whole or not at all."""
    lists = {key: value for key, value in results.items() if isinstance(value, list)}
    head = json.dumps({key: value for key, value in results.items() if key not in lists}, indent=1)[:-2]
    parts = [f' "{key}": [\n  ' + ",\n  ".join(map(json.dumps, rows)) + "\n ]" for key, rows in lists.items()]
    text = ",\n".join([head, *parts]) + "\n}\n"
    atomic_write(file, lambda path: path.write_text(text, encoding="utf-8") and None)


def child(module: str, asked: Any, *, threads: int = 1, numba_cache: str | None = None) -> list[Results]:
    """Run a module in a process of its own; the lines of JSON that it prints."""
    paths = [str(ROOT), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(threads)}
    if numba_cache is not None:
        environment["NUMBA_CACHE_DIR"] = numba_cache
    command = [sys.executable, "-m", module, json.dumps(asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {json.dumps(asked)} failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def measure_starts(results: Results, network: str, seed: int) -> list[Results]:
    """Time the first extraction with an empty compilation cache, and with the one that this left."""
    if any((start["network"], start["seed"]) == (network, seed) for start in results["starts"]):
        return []
    with tempfile.TemporaryDirectory() as folder:
        return [
            {
                "cache": cache,
                **child("benchmarks.measure", {"start": network, "seed": seed}, numba_cache=folder)[0],
            }
            for cache in ("empty", "filled")
        ]


def open_gates(results: Results, checks: Sequence[Check]) -> list[Results]:
    """Compare what has not been compared yet; stop where sets differ."""
    keys = [field.name for field in fields(Check)]
    passed = [{key: gate[key] for key in keys} for gate in results["gates"]]
    missing = [asdict(check) for check in checks if asdict(check) not in passed]
    found = child("benchmarks.gate", missing) if missing else []
    for gate in found:
        if not gate["equal"]:
            raise SystemExit(f"other sets than the reference's; nothing is reported of {json.dumps(gate)}")
    if len(found) != len(missing):
        raise SystemExit(f"expected {len(missing)} comparisons, got {len(found)}; nothing is reported")
    return found


def measured(results: Results, case: Case) -> bool:
    """Tell whether a row is there."""
    key = case.to_dict()
    return any({name: row[name] for name in key} == key for row in results["rows"])


def fits(case: Case, gates: Sequence[Results]) -> bool:
    """Tell whether a network has more layers than the case's last k: else it is the full extraction again."""
    found = [gate["network_layers"] for gate in gates if gate["network"] == case.check.network]
    return case.check.layers is None or not found or case.check.layers < found[0]


def run(results: Results, file: Path, names: Sequence[str], parts: Sequence[str], seed: int) -> None:
    """Measure what is missing in the results, and keep each in the file as it comes."""
    begin = time.monotonic() - results["wall_s"]

    def keep() -> None:
        results["wall_s"] = round(time.monotonic() - begin)
        save(results, file)

    with track("benchmark") as progress:
        for number, name in enumerate(names):
            cases = list(cases_of(name, [part for part in parts if part != "start"], seed))
            if "start" in parts and name == names[0]:
                results["starts"] += measure_starts(results, name, seed)
                keep()
            cores = results["machine"]["cores"] or 1
            cases = [case for case in cases if case.threads <= cores and not measured(results, case)]
            for checks in checks_of(cases).values():
                fewest = min(check.layers or 0 for check in checks)  # this one tells how many layers there are
                for some in ([c for c in checks if (c.layers or 0) == fewest], checks):
                    results["gates"] += open_gates(results, [c for c in some if fits(Case(c), results["gates"])])
                    keep()
            for done, case in enumerate(cases):
                if not fits(case, results["gates"]):
                    continue
                asked = asdict(case) | {"rounds": results["rounds"], "seconds": results["seconds"]}
                before = load_average()
                results["rows"] += [
                    {**row, "load_average": [before, row["load_average"]]}
                    for row in child("benchmarks.measure", asked, threads=case.threads)
                ]
                keep()
                print(json.dumps(results["rows"][-1]), flush=True)
                progress(1000 * number + 1000 * (done + 1) // len(cases), 1000 * len(names))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="lenet5, data:NAME, torchvision:NAME")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which rows")
    parser.add_argument("--rounds", type=int, default=9, help="timings of each kind, at most")
    parser.add_argument("--seconds", type=float, default=3, help="that the timings of a row take, at most")
    parser.add_argument("--seed", type=int, default=0, help="of random weights and of training")
    parser.add_argument("--output", type=Path, default=Path("effpath-bench/bench.json"), help="a .json file")
    parser.add_argument("--fresh", action="store_true", help="do not go on from what the output file has")
    parser.add_argument("--read", type=Path, help="show these results instead of measuring")
    parser.add_argument("--plot", type=Path, help="an .svg file")
    parser.add_argument("--page", type=Path, help="a Markdown page; all below its mark becomes the tables")
    options = parser.parse_args()
    if options.read:
        results = read(options.read)
    else:
        results = opened(options.output, about(options.rounds, options.seconds), fresh=options.fresh)
        run(results, options.output, options.networks or networks(), options.parts, options.seed)
    if options.plot:
        plot(results, options.plot)
    if options.page:
        write_page(results, options.page)


if __name__ == "__main__":
    main()
