"""The command line of a study of detection: cases in, a table for each out, or a figure of tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from detection.cases import CASES, named
from detection.gather import gather
from detection.seen import Seen
from effpath.errors import EffpathError
from sources import is_done, write_result

Row = dict[str, Any]
HEADING = (
    "network", "network_fingerprint", "data", "seed", "accuracy", "clean_images", "attacked_images",
    "training_images",
)  # fmt: skip
Measure = Callable[..., Row]
Plot = Callable[[Mapping[str, Row], Path], None]


def run(
    doc: str | None,
    measure: Measure,
    plot: Plot,
    report: Callable[[Row], Sequence[str]],
    numbers: Mapping[str, str] = MappingProxyType({}),
    others: Sequence[str] = (),
) -> None:
    """Measure a case, or draw what was measured.

    Args:
        doc: of the study, for ``--help``.
        measure: from what detectors see of a case, and the case, to a table.
        plot: draws tables by network.
        report: the lines that are printed of a table.
        numbers: whole numbers that ``measure`` takes as well, None where they are not given, with their help.
        others: of `detection.gather.OTHERS`, what the study looks at beside paths.
    """
    known = parser(doc)
    for number, text in numbers.items():
        known.add_argument(f"--{number.replace('_', '-')}", type=int, help=text)
    options = known.parse_args()
    if is_done(options, plot):
        return
    torch.set_num_threads(options.threads)
    try:
        case = named(options.case, data=options.data, model=options.model, attacks=options.attacks)
        seen = gather(options.name or options.case, case, seed=options.seed, others=others)
        table = measure(seen, case, **{number: getattr(options, number) for number in numbers})
    except EffpathError as error:
        raise SystemExit(f"error: {error}") from error
    write_result({**heading(seen), **table}, options.output)
    print("\n".join(report(table)))


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the options that all studies of detection have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--plot", type=Path, nargs="+", help="draw these results instead of measuring")
    made.add_argument("--case", default="lenet_digits", help=f"one of {', '.join(CASES)}")
    made.add_argument("--data", help="instead of the case's: digits, imagefolder:DIR …")
    made.add_argument("--model", help="instead of the case's: FILE.py:factory or a library's model")
    made.add_argument("--name", help="of the network, for tables; without, the case's")
    made.add_argument(
        "--attacks", nargs="+", default=[], help="NAME, NAME:setting=value, NAME@images, NAME!: unseen"
    )
    made.add_argument("--output", type=Path, required=True, help="a .json file; an .svg file with --plot")
    made.add_argument("--seed", type=int, default=0, help="of training, images, attacks and rivals")
    made.add_argument("--threads", type=int, default=1, help="of torch")
    return made


def heading(seen: Seen) -> Row:
    """Return what every table says of its case."""
    about = seen.about
    return {
        **{key: about[key] for key in HEADING},
        "attacks": about["attacks"],
    }
