"""Joint surprise with further signs: what rivals measure, that look at something else than paths.

    python studies/further_signs.py --case lenet_digits --output DIR/further_signs/lenet_digits.json
    python studies/further_signs.py --plot DIR/further_signs/*.json --output DIR/further_signs.png

Paths tell strong attacks and what is no image. Whether the answer survives a change of the image tells attacks of
the least size, and whether image or activations are like those of training images what paths miss of the strong
ones. So rivals that learn nothing from attacks are added to the four signs of joint surprise, each as surprising
as it is rare among clean images: every one alone, some of both kinds together, all, and all with weights that are
learned, with the two signs that look at paths and without them, with other floors of the weights, and the four
signs alone with learned weights. The best of a cell is taken of all detectors without further signs, those of
`studies/detectors.py` but CDRP. Means over five splits, intervals a bootstrap over source images, the same
resamples for all. What is added was not attacked knowingly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import Case
from detection.command import run
from detection.gather import OTHERS
from detection.judge import Protocol, judge, settings
from detection.resampling import interval
from detection.seen import Seen
from detection.signs import FLOOR, KIND, WithoutPaths, signs_among, with_signs
from effpath.detect import SIGNS
from rivals.table import RIVALS, entrants
from sources import save_figure

Row = dict[str, Any]
TOGETHER = (
    ("MagNet", "resize and pad"),
    ("MagNet", "JPEG", "resize and pad"),
    ("Mahalanobis, sum", "kernel density", "resize and pad"),
    ("Mahalanobis, sum", "kernel density", "JPEG", "resize and pad"),
)
WEIGHED = "all of them, weighed"
PATHLESS = "all of them, weighed, without paths"
ALONE = "nothing, weighed"
FLOORS = {f"all of them, weighed, floor {floor:g}": floor for floor in (0, 0.25, 0.5)}  # beside that of `FLOOR`


def measure(seen: Seen, case: Case) -> Row:
    """Judge joint surprise with each of the further signs, with some together, with all, and these weighed."""
    measured = seen.groups["clean"].arrays
    others, signs = entrants([name for name in RIVALS if name in measured]), signs_among(measured)
    sets = {
        **{name: (name,) for name in signs},
        **{", ".join(own): own for own in TOGETHER if set(own) <= set(signs)},
    }
    options: dict[str, Row] = {}
    if len(signs) > 1:
        sets |= {**dict.fromkeys(("all of them", WEIGHED, PATHLESS, *FLOORS), tuple(signs)), ALONE: ()}
        options = {
            **{name: {"floor": FLOOR} for name in (WEIGHED, ALONE)},
            PATHLESS: {"floor": FLOOR, "make": WithoutPaths},
            **{name: {"floor": floor} for name, floor in FLOORS.items()},
        }
    longer = {
        f"{KIND} + {name}": with_signs([signs[one] for one in own], **options.get(name, {}))
        for name, own in sets.items()
    }
    judged = judge(seen, Protocol((KIND,), others={**others, **longer}, unseen=seen.unseen))
    aucs = judged.aucs()
    found = {}
    for name, own in sets.items():
        detector = f"{KIND} + {name}"
        cells = {
            group.name: {
                "auc": aucs[detector][group.name],
                "tpr": interval(judged.tpr[detector][0.05][group.name]),
                **judged.beside_best(detector, group.name, apart=longer),
                "softmax": aucs["max softmax"][group.name][0],
            }
            for group in seen.attacks
        }
        weights = [split.classifiers[detector][-1].weights_ for split in judged.evaluations]
        found[name] = {
            "signs": list(own),
            "weights": dict(zip((*SIGNS, *own), np.mean(weights, 0).round(3).tolist(), strict=True)),
            "auc": aucs[detector],
            "beyond_surprise": interval(judged.mean[detector] - judged.mean[KIND]),
            "within_the_best": [sum(cell["within"] for cell in cells.values()), len(cells)],
            "cells": cells,
        }
    added = {}
    if WEIGHED in found:
        with_paths, without = f"{KIND} + {WEIGHED}", f"{KIND} + {PATHLESS}"
        added = {name: interval(own - judged.auc[without][name]) for name, own in judged.auc[with_paths].items()}
        added["mean"] = interval(judged.mean[with_paths] - judged.mean[without])
    return {
        "settings": settings(seen),
        "tested": {group.name: len(judged.evaluations[0].test[group.name]) for group in seen.attacks},
        "without": aucs[KIND],
        "alone": {name: aucs[name]["mean"] for name in signs},
        "best_alone": max(aucs[name]["mean"] for name in aucs if name not in longer and name != KIND),
        "with": found,
        "added_by_paths": added,
    }


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the mean AUC over attacks with further signs, and of these alone, a panel a network."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for table in tables.values() for name in table["with"]))
    figure = Figure(figsize=(2.8 * len(tables) + 3.4, 0.25 * len(names) + 1.4), layout="constrained")
    grid = figure.subplots(1, len(tables), squeeze=False)
    lines = np.arange(len(names))[::-1]
    nothing = [np.nan] * 3
    for place, (axes, (network, table)) in enumerate(zip(grid[0], tables.items(), strict=True)):
        alone = [table["alone"].get(name, nothing) for name in names]
        added = [table["with"][name]["auc"]["mean"] if name in table["with"] else nothing for name in names]
        for own, colour, shift, label in (
            (alone, "tab:grey", -0.12, "alone"), (added, "tab:red", 0.12, "with joint surprise"),
        ):  # fmt: skip
            value, low, high = np.array(own, float).T
            axes.errorbar(
                value, lines + shift, xerr=[value - low, high - value], fmt="o", ms=3, color=colour, label=label
            )
        axes.axvline(
            table["without"]["mean"][0], color="tab:red", linewidth=0.8, linestyle=":", label="four signs"
        )
        axes.set(xlabel="AUC, mean over attacks")
        axes.set_title(network, fontsize="small")
        axes.set_yticks(lines, names if place == 0 else [])
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower right", ncols=3, fontsize="x-small")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    """Return a line for each set of further signs."""
    lines = [
        f"four signs: mean AUC {table['without']['mean'][0]:.3f}; best of the others {table['best_alone'][0]:.3f}"
    ]
    for name, own in table["with"].items():
        within, cells = own["within_the_best"]
        lines.append(
            f"+ {name}: {own['auc']['mean'][0]:.3f}; best or within chance of it in {within} of {cells} attacks"
        )
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report, others=OTHERS)
