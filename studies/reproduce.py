"""Measure and draw the figures of `figures`: all that is known of detection on one network, or a part.

    python studies/reproduce.py --case lenet_mnist --processes 2 --output docs/results/detection
    python studies/reproduce.py --study roc --case lenet_digits --output DIR
    python studies/reproduce.py --study cdrp --case alexnet_imagenette --images 40 --gathered FGSM BIM --output DIR
    python studies/reproduce.py --study class_similarity --case lenet_mnist --output docs/results/inside
    python studies/reproduce.py --plot --output DIR

Without ``--study`` attacks and class paths are made side by side in processes, then every detector looks, then
every study is measured and written to OUTPUT/STUDY/CASE.json, with the time that each step took in
OUTPUT/reproduce/CASE.json. ``--gather`` ends before the studies; with ``--judged`` it sees no more than the tables
of attacks need. ``--device cuda`` makes attacks and forward passes on a GPU; what fools the network on the CPU too
counts. With ``--study`` only these studies are measured, and what they found is said. Attacks and what detectors
saw are cached: a killed run goes on, and its processes end with it. A result that is there is kept. ``--plot``
draws every result, into OUTPUT/STUDY/CASE.png (or .svg).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from detection.cases import CASES, Case, named
from detection.gather import OTHERS, Gathering
from detection.making import Making
from detection.signs import SIGNS
from effpath.errors import EffpathError, OptionError
from figures import FIGURES, OPTIONS
from processes import side_by_side
from sources import Row, parser, read_result, write_result

WHOLE = [name for name, figure in FIGURES.items() if figure.others is not None and not figure.reads]
CLASS_PATHS, PATHS = "class paths", "paths"  # what is made of a case, beside what others see
CLEAN = "clean"  # the group of images that were not attacked
# the slowest attacks begin first
FIRST = ("CWL2", "Patch", "Universal", "FGSM_targeted", "JSMA", "DeepFool", "APGD", "PGD")


def make_attack(case: Case, attack: str, seed: int, device: str) -> None:
    """Make one attack of a case, into the cache."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # which is less exact than float32
    Making(case, seed, device).attack(case.attacks[attack])


_GATHERINGS: dict[str, Gathering] = {}  # of this process


def make_piece(
    name: str, case: Case, seed: int, device: str, what: str, groups: Sequence[str] = (), threads: int = 1
) -> None:
    """Make pieces of what is seen of a case, into the cache: of some groups."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    if name not in _GATHERINGS:
        _GATHERINGS[name] = Gathering(name, case, seed, device)
    gathering = _GATHERINGS[name]
    if what == CLASS_PATHS:
        _ = gathering.class_paths, gathering.signs
    elif what == PATHS:
        for group in groups:
            gathering.paths(group)
    else:
        gathering.other(what, groups)


def make_study(
    study: str, name: str, case: Case, seed: int, output: Path, given: Row | None = None, threads: int = 1
) -> None:
    """Measure one study, and write it, if it is not there."""
    torch.set_num_threads(threads)
    file = output / study / f"{name}.json"
    if not file.exists():
        write_result(FIGURES[study].result(name, case, seed, output, given or {}), file)


def gathered(
    name: str, case: Case, *, processes: int, seed: int, device: str = "cpu", judged: bool = False
) -> Row:
    """Make what detectors see of one case; return the seconds that it took.

    Passes are made on the device. With ``judged`` images that were not attacked are left out, but for clean ones
    and natural mistakes.
    """
    start = time.perf_counter()
    attacks = sorted(case.attacks, key=lambda attack: not case.attacks[attack].attack.startswith(FIRST))
    _ = Making(case, seed).chosen  # trained, and what is classified correctly found once, not by every process
    first = {CLASS_PATHS: partial(make_piece, name, case, seed, device, CLASS_PATHS, threads=processes)}
    made = {attack: partial(make_attack, case, attack, seed, device) for attack in attacks}
    seconds: Row = {"attacks": side_by_side({**first, **made}, processes, "attacks and class paths")}
    torch.set_num_threads(processes)
    gathering = Gathering(name, case, seed, device)
    groups = gathering.judged if judged else gathering.groups
    pieces = {other: (other, groups) for other in OTHERS if other != SIGNS}
    pieces |= {f"{what} {group}": (what, [group]) for group in groups for what in (PATHS, SIGNS)}
    more = {"threads": max(1, processes // 4)}  # for the largest group by far
    seen = {
        piece: partial(make_piece, name, case, seed, device, *how, **(more if how[1] == [CLEAN] else {}))
        for piece, how in pieces.items()
    }
    seconds["what is seen"] = side_by_side(seen, processes, "what is seen")
    return {**seconds, "gathered": round(time.perf_counter() - start, 1)}


def studied(name: str, case: Case, *, processes: int, seed: int, output: Path) -> Row:
    """Measure every study of one case; return the seconds that it took."""
    start = time.perf_counter()
    studies = sorted(WHOLE, key=lambda study: -len(FIGURES[study].others or ()))  # the slowest begin first
    measured = {study: partial(make_study, study, name, case, seed, output) for study in studies}
    seconds = side_by_side(measured, processes, "studies")
    return {"studies": seconds, "studied": round(time.perf_counter() - start, 1)}


def processor_seconds() -> float:
    """Return what this process and those that it has waited for have computed, whatever else the machine did."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(sum(each.ru_utime + each.ru_stime for each in used), 1)


def draw(output: Path, studies: Sequence[str]) -> None:
    """Draw these studies of every case."""
    for study in studies:
        figure = FIGURES[study]
        for file in sorted((output / (figure.reads or study)).glob("*.json")):
            table = figure.study.measure(read_result(file)) if figure.reads else read_result(file)
            figure.drawn({file.stem: table}, output / study / f"{file.stem}{figure.form}")


def options_of(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line."""
    made = parser(__doc__)
    made.add_argument("--case", default="lenet_digits", help=f"one of {', '.join(CASES)}")
    made.add_argument("--study", nargs="+", choices=FIGURES, help="only these; without, all of a case")
    made.add_argument("--output", type=Path, required=True, help="folder of the results")
    made.add_argument("--gather", action="store_true", help="end when everything is seen, before the studies")
    made.add_argument(
        "--judged", action="store_true", help="with --gather, only clean images, attacks and natural mistakes"
    )
    made.add_argument("--plot", action="store_true", help="draw what was measured instead of measuring")
    made.add_argument("--data", help="instead of the case's: digits, imagefolder:DIR …")
    made.add_argument("--model", help="instead of the case's: FILE.py:factory or a library's model")
    made.add_argument("--name", help="of the network, for tables; without, the case's")
    made.add_argument("--attacks", nargs="+", default=[], help="NAME, NAME:setting=value@images; with ! unseen")
    made.add_argument(
        "--rows", nargs="+", default=[], help="only these of the case's attacks, by their rows' names"
    )
    made.add_argument("--sources", type=int, help="test images that are attacked, if not the case's")
    made.add_argument("--seed", type=int, default=0, help="of training, images, attacks and rivals")
    made.add_argument("--processes", type=int, default=2, help="side by side, where everything is made")
    made.add_argument("--threads", type=int, default=1, help="of torch, with --study")
    for name, how in OPTIONS.items():
        takers = ", ".join(study for study, figure in FIGURES.items() if name in figure.options)
        made.add_argument(f"--{name.replace('_', '-')}", **{**how, "help": f"{how['help']} ({takers})"})
    return made.parse_args(words)


def run(options: argparse.Namespace) -> None:
    """Measure what the options say."""
    case = named(options.case, data=options.data, model=options.model, attacks=options.attacks, rows=options.rows)
    if options.sources:
        case = replace(case, sources=options.sources)
    name, output = options.name or options.case, options.output
    given = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    device = "cpu" if options.study else given.pop("device", "cpu")
    if given and not options.study:
        raise OptionError(f"expected --study where {', '.join(given)} are given")
    if not options.study:
        how = {"processes": options.processes, "seed": options.seed}
        if options.judged and not options.gather:
            raise OptionError(
                "expected --gather with --judged: the studies of a whole case look at other images too"
            )
        seconds = gathered(name, case, **how, device=device, judged=options.judged)
        if not options.gather:
            seconds |= studied(name, case, **how, output=output)
        about = {
            "network": name, "processes": options.processes, "cores": os.cpu_count(), "device": device,
            "seconds": {**seconds, "processor": processor_seconds()},
        }  # fmt: skip
        write_result(about, output / ("gathered" if options.gather else "reproduce") / f"{name}.json")
        print(f"{name}: {seconds['gathered']} s, then {seconds.get('studied', 'no studies')}")
        return
    for study in options.study:
        make_study(study, name, case, options.seed, output, given, options.threads)
        file = output / study / f"{name}.json"
        print("\n".join([f"{file}:", *FIGURES[study].words(name, read_result(file))]))


def main(words: Sequence[str] | None = None) -> None:
    options = options_of(words)
    if options.plot:
        draw(options.output, options.study or list(FIGURES))
        return
    try:
        run(options)
    except EffpathError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
