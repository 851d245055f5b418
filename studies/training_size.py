"""How many images a detector needs for training (Fig. 9, 18).

    python studies/training_size.py --case lenet_digits --output DIR/training_size/lenet_digits.json
    python studies/training_size.py --plot DIR/training_size/*.json --output DIR/training_size.svg

A share of the source images trains the detectors, with all their attacked versions that may be learnt from. A
fifth of the images fixes thresholds and 30 % test, the same ones for every share; smaller shares are parts of
larger ones. A share of fewer than five images is left out, and an attack of fewer than twenty. Means over five
splits, intervals a bootstrap over source images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import Case
from detection.command import run
from detection.figures import DETECTORS, draw_band
from detection.judge import SEEDS, Protocol, Resampled, gate_detectors, judge_groups
from detection.resampling import interval
from detection.seen import Seen
from effpath.detect.evaluate import Group
from effpath.errors import InputError
from sources import save_figure

Row = dict[str, Any]
KINDS = ("linear", "surprise", "forest")
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
HELD = {"test": 0.3, "calibrate": 0.2}  # drawn first, so that they are the same for every share
FEWEST = 5  # images that a detector is trained on
FEWEST_ATTACKED = 20  # images of an attack, so that the test part has some of them
MEANS = {"mean": "all attacks", "seen": "attacks of the training", "unseen": "attacks not in training"}


def measure(seen: Seen, case: Case, shares: Sequence[float] = SHARES) -> Row:
    """Measure our detectors and CDRP's over the share of the sources that they are trained on."""
    clean = seen.groups["clean"]
    sources = len(clean.source)
    others = gate_detectors() if "CDRP" in clean.arrays else {}
    attacks = [group for group in seen.attacks if len(group.source) >= FEWEST_ATTACKED]
    found: Row = {}
    left_out: Row = {
        group.name: f"{len(group.source)} images are fewer than {FEWEST_ATTACKED}"
        for group in seen.attacks
        if group not in attacks
    }
    for share in shares:
        if round(share * sources) < FEWEST:
            left_out[str(share)] = f"{share:.0%} of {sources} images are fewer than {FEWEST}"
            continue
        try:
            judged = judge_groups(
                clean, attacks, Protocol(KINDS, others, seen.unseen, fractions={**HELD, "train": share})
            )
        except InputError as error:  # no attacked image among so few of the clean ones
            left_out[str(share)] = str(error)
            continue
        aucs = judged.aucs()
        for part, names in parts_of(attacks, seen.unseen).items():
            for detector, value in mean_over(judged, names).items():
                aucs[detector][part] = value
        found[str(share)] = {"trained": judged.evaluations[0].sizes["train"], "auc": aucs}
    return {
        "settings": {**HELD, "seeds": list(SEEDS), "unseen": list(seen.unseen)},
        "shares": found,
        "left_out": left_out,
    }


def parts_of(attacks: Sequence[Group], unseen: Sequence[str]) -> dict[str, list[str]]:
    """Return the attacks that detectors learn from and the others, where there are such."""
    names = [group.name for group in attacks]
    parts = {
        "seen": [name for name in names if name not in unseen],
        "unseen": [name for name in names if name in unseen],
    }
    return {part: own for part, own in parts.items() if own}


def mean_over(judged: Resampled, names: Sequence[str]) -> dict[str, list[float]]:
    """Return the mean AUC over some attacks, by detector."""
    return {
        detector: interval(np.mean([own[name] for name in names], axis=0)) for detector, own in judged.auc.items()
    }


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the mean AUC over the share, a row a network; all attacks, those of the training, the others."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 2.9 * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), len(MEANS), squeeze=False, sharex=True, sharey="row")
    for line, (network, table) in zip(grid, tables.items(), strict=True):
        shares = list(table["shares"])
        for axes, (part, title) in zip(line, MEANS.items(), strict=True):
            for detector, colour in DETECTORS.items():
                own = [table["shares"][share]["auc"].get(detector, {}).get(part) for share in shares]
                if own and all(own):
                    draw_band(
                        axes, [100 * float(s) for s in shares], own, color=colour, marker="o", label=detector
                    )
            axes.set(xscale="log", title=f"{network}, {title}")
            axes.title.set_fontsize("small")
            axes.set_xticks([100 * share for share in SHARES], [f"{share:.0%}" for share in SHARES])
            axes.minorticks_off()
        line[0].set_ylabel("AUC")
    grid[-1, 1].set_xlabel("share of the images that detectors are trained on")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize="small")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    lines = [f"left out: {name}, {why}" for name, why in table["left_out"].items()]
    for share, own in table["shares"].items():
        means = ", ".join(f"{detector} {auc['mean'][0]:.3f}" for detector, auc in own["auc"].items())
        lines.append(f"{float(share):4.0%} ({own['trained']:4} images): {means}")
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report, others=("CDRP",))
