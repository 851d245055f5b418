"""Everything that is known of detection on one network, from nothing: attacks, paths, rivals, every study.

    python studies/reproduce.py --case lenet_mnist --processes 2 --output docs/results/detection
    python studies/reproduce.py --plot --output docs/results/detection

Attacks are made side by side in processes, then every detector looks at them once, then every study is measured
and written to OUTPUT/STUDY/CASE.json, with the time that each step took in OUTPUT/reproduce/CASE.json. Attacks and
what detectors saw are cached: a killed run goes on. A result that is there is kept. ``--plot`` draws them all,
into OUTPUT/STUDY/CASE.png.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from detection.cases import CASES, Case
from detection.command import heading
from detection.gather import chosen_images, gather, open_case, run_attack
from effpath.errors import EffpathError
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from sources import read_result, write_result

Row = dict[str, Any]
STUDIES = (
    "detectors", "further_signs", "theta", "layers", "training_size", "transfer", "roc", "controls", "recovery",
    "layer_similarity", "tsne",
)  # fmt: skip
FIRST = ("CWL2", "FGSM_targeted", "JSMA", "DeepFool", "PGD")  # the slowest attacks begin first


def make_attack(case: Case, attack: str, seed: int) -> float:
    """Make one attack of a case, into the cache; return seconds."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    model, data = open_case(case, seed)
    clean, attacked, _, _ = chosen_images(model, data.part("test", "val"), case, seed)
    run_attack(model, clean, attacked, case.attacks[attack], case, seed, default_cache_dir())
    return round(time.perf_counter() - start, 1)


def make_study(study: str, name: str, case: Case, seed: int, output: Path) -> float:
    """Measure one study of what was gathered, and write it; return seconds."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    file = output / study / f"{name}.json"
    if not file.exists():
        seen = gather(name, case, seed=seed)
        write_result({**heading(seen), **importlib.import_module(study).measure(seen, case)}, file)
    return round(time.perf_counter() - start, 1)


def side_by_side(
    work: Callable[..., float], items: Sequence[str], calls: Sequence[tuple[Any, ...]], processes: int, what: str
) -> dict[str, float]:
    """Do work in so many processes; return what it gave, by item."""
    found = {}
    with track(what) as progress, ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        running = {item: pool.submit(work, *call) for item, call in zip(items, calls, strict=True)}
        for item, future in running.items():
            found[item] = future.result()
            progress(len(found), len(items))
    return found


def reproduce(name: str, case: Case, *, processes: int, seed: int, output: Path, studies: Sequence[str]) -> Row:
    """Make everything of one case; return the seconds that it took."""
    start = time.perf_counter()
    attacks = sorted(case.attacks, key=lambda attack: not case.attacks[attack].attack.startswith(FIRST))
    open_case(case, seed)  # trained once, not by every process
    seconds: Row = {"attacks": side_by_side(
        make_attack, attacks, [(case, attack, seed) for attack in attacks], processes, "attacks"
    )}  # fmt: skip
    clock = time.perf_counter()
    torch.set_num_threads(processes)
    gather(name, case, seed=seed)
    seconds["what detectors see"] = round(time.perf_counter() - clock, 1)
    seconds["studies"] = side_by_side(
        make_study, studies, [(study, name, case, seed, output) for study in studies], processes, "studies"
    )
    seconds["all"] = round(time.perf_counter() - start, 1)
    return seconds


def draw(output: Path) -> None:
    """Draw every study of every case."""
    for study, plots in {**{study: study for study in (*STUDIES, "cdrp")}, "breadth": "detectors"}.items():
        for file in sorted((output / plots).glob("*.json")):
            picture = output / study / f"{file.stem}.png"
            importlib.import_module(study).plot({file.stem: read_result(file)}, picture)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--case", choices=CASES, default="lenet_digits")
    made.add_argument("--output", type=Path, required=True, help="folder of the results")
    made.add_argument("--plot", action="store_true", help="draw what was measured instead of measuring")
    made.add_argument("--studies", nargs="+", choices=STUDIES, default=STUDIES)
    made.add_argument("--sources", type=int, help="test images that are attacked, if not the case's")
    made.add_argument("--processes", type=int, default=2)
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    if options.plot:
        draw(options.output)
        return
    case = CASES[options.case]
    if options.sources:
        case = replace(case, sources=options.sources)
    try:
        seconds = reproduce(
            options.case, case, processes=options.processes, seed=options.seed, output=options.output,
            studies=options.studies,
        )  # fmt: skip
    except EffpathError as error:
        raise SystemExit(f"error: {error}") from error
    about = {"network": options.case, "processes": options.processes, "cores": os.cpu_count(), "seconds": seconds}
    write_result(about, options.output / "reproduce" / f"{options.case}.json")
    print(f"{options.case}: {seconds['all']} s with {options.processes} processes")


if __name__ == "__main__":
    main()
