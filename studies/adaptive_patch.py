"""A patch that knows the detector, beside one that does not: how many images pass with it.

    python studies/adaptive_patch.py --case lenet_digits --output docs/results/adaptive_patch/lenet_digits.json

A square of half the image side is trained for each of some targets on training images, by `effpath.attacks`, which
knows the network alone, and then on misclassification and the suspicion of each detector together, by
`effpath.adaptive`. Both are judged on test images, at one random place in each: the share that is misclassified,
and the share that is misclassified and not flagged at 5 % and 50 % false positives. Detectors, thresholds and test
images are those of `studies/adaptive.py`. A result that is there is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from adaptive import FPRS, Ground, prepared, trial_of
from detection.cases import named
from detection.making import open_case
from effpath.adaptive import PatchSettings, Victim, passing, train_aware_patch
from effpath.attacks import ATTACKS, train_patch
from effpath.data import Part
from effpath.detect import threshold_at_fpr
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from page_parts import NOT_MEASURED, markdown, part
from sources import Row, read_result, run_study

JUDGED = ("misclassified", *(f"sr{round(100 * fpr)}" for fpr in FPRS))


def measure(ground: Ground, learned: Part, detectors: Sequence[str], targets: int, settings: PatchSettings) -> Row:
    """Measure both kinds of patches on each detector; ``learned``: the training images of patches."""
    model, seed, held_out = ground.model, ground.seed, ground.held_out
    attacked = ground.attacked.images, ground.attacked.labels
    aims = np.random.default_rng(seed).permutation(ground.graph.classes)[:targets].tolist()
    known = {"scale": settings.scale, "rotation": settings.rotation}
    starts = {target: train_patch(model, learned.images, target, settings=known, seed=seed) for target in aims}
    table: Row = {}
    for kind in detectors:
        detector = ground.fit(kind).calibrate(held_out, fpr=FPRS[0], by_class=False)
        scores, victim = detector.score(held_out), Victim(detector, model)
        limits = [math.inf, *(threshold_at_fpr(scores, fpr) for fpr in FPRS)]
        found: dict[str, list[list[float]]] = {"unaware": [], "aware": []}
        start = time.process_time()
        with track(f"patches against {kind}") as progress:
            for number, (target, blind) in enumerate(starts.items()):
                aware = train_aware_patch(
                    victim, learned.images, learned.labels, blind, settings=settings, seed=seed + target
                )
                for name, patch in (("unaware", blind), ("aware", aware)):
                    found[name].append(passing(victim, *attacked, patch, settings, seed, limits))
                progress(number + 1, targets)
        table[kind] = {
            **{name: mean_of(each) for name, each in found.items()},
            "by_target": {name: np.round(each, 4).tolist() for name, each in found.items()},
            "process_seconds": round(time.process_time() - start, 1),
        }
        print(kind, table[kind]["unaware"], table[kind]["aware"], flush=True)
    return {
        "accuracy": round(ground.accuracy, 4), "attacked": len(ground.attacked), "learned": len(learned),
        "held_out": len(held_out), "targets": aims, "seed": seed, "settings": asdict(settings), "detectors": table,
    }  # fmt: skip


def mean_of(rates: Sequence[Sequence[float]]) -> Row:
    """Return the mean over patches of their rates, by name."""
    return dict(zip(JUDGED, np.round(np.mean(rates, 0), 4).tolist(), strict=True))


def tabulate(table: Row) -> str:
    """Return the rates of both kinds of patches on each detector, as a Markdown table."""
    lines = []
    for kind, rows in table["detectors"].items():
        for name in ("unaware", "aware"):
            lines.append([kind, f"{name} of the detector", *(f"{rows[name][key]:.0%}" for key in JUDGED)])
    return markdown(["detector", "patch", "misclassified", "SR@5", "SR@50"], lines)


@part
def patched(results: Path, network: str) -> str:
    """The rates of the patches of a network, as a table of docs/adaptive.md."""
    file = results / "adaptive_patch" / f"{network}.json"
    return tabulate(read_result(file)) if file.exists() else NOT_MEASURED


def measure_case(
    *,
    case: str = "lenet_digits",
    model: str | None = None,
    detectors: Sequence[str] = ("fast", "standard", "surprise", "softmax"),
    sources: int = 200,
    learned: int = 200,
    targets: int = 4,
    steps: int = 200,
    seed: int = 0,
) -> Row:
    chosen = named(case, data=None, model=model, attacks=())
    network, images = open_case(chosen, seed)
    trial = trial_of(chosen, photographs=False, sources=sources, seed=seed, detectors=tuple(detectors))
    ground = prepared(network, images, trial, default_cache_dir())
    train = images.part("train")
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:learned].sort().values
    settings = PatchSettings(steps=steps, rotation=ATTACKS["Patch"].settings["rotation"])
    return {"data": images.name, **measure(ground, Part(*_taken(train, rows)), detectors, targets, settings)}


def _taken(train: Part, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    some = train.take(rows)
    return some.images[:], some.labels


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Print the rates of each network; there is nothing to draw."""
    for network, table in tables.items():
        print(f"{network}\n\n{tabulate(table)}\n")


OPTIONS: dict[str, Row] = {
    "case": {"help": "of studies/detection/cases.py; lenet_digits"},
    "model": {"help": "another model than the case's"},
    "detectors": {"nargs": "+", "help": "fast standard surprise softmax"},
    "sources": {"type": int, "help": "test images; 200"},
    "learned": {"type": int, "help": "training images that patches are trained on; 200"},
    "targets": {"type": int, "help": "targets, a patch for each; 4"},
    "steps": {"type": int, "help": "of each patch, after those of the one that knows no detector; 200"},
    "seed": {"type": int, "help": "0"},
}

if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure_case, draw)
