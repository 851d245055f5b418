"""Ours beside every rival (Fig. 8, 17): the same images, the same splits, one threshold for all attacks.

    python studies/detectors.py --case lenet_digits --output DIR/detectors/lenet_digits.json
    python studies/detectors.py --plot DIR/detectors/*.json --output DIR/detectors.png

Our detectors, CDRP with the paper's four classifiers, today's rivals, input transformations as detectors by
disagreement, and the baselines. Rivals are fitted on training images of the class paths. Correctly classified test
images are attacked and divided by source image, in five ways: on one part the detectors that need attacks learn
from all but the unseen ones, on another the threshold of each is fixed, the third is tested. AUC and TPR are means
over the splits, intervals a bootstrap over source images with the same resamples for every detector. A rival that
is not for the network is listed with the reason. Seconds are process time of fitting and measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import Case
from detection.command import run
from detection.gather import OTHERS
from detection.judge import OURS, Protocol, Resampled, judge, rivals_of, settings
from detection.resampling import interval
from detection.seen import Seen
from sources import save_figure

Row = dict[str, Any]
COLOURS = {"ours": "tab:red", "baseline": "black", "rival": "tab:grey"}
COLUMNS = 5  # of the figure
BEST = "surprise"  # of ours, the one that is compared with each rival


def measure(seen: Seen, case: Case) -> Row:
    """Judge every detector, and compare ours with the best rival of each attack."""
    judged = judge(seen, Protocol(others=rivals_of(seen), unseen=seen.unseen))
    cells = {group.name: compare(judged, group.name) for group in seen.attacks}
    return {
        "settings": settings(seen),
        "sizes": dict(judged.evaluations[0].sizes),
        "tested": {group.name: len(judged.evaluations[0].test[group.name]) for group in seen.attacks},
        "detectors": judged.table(),
        "cells": cells,
        "within_the_best": [sum(cell["within"] for cell in cells.values()), len(cells)],
        "rival_images": seen.about["rival_images"],
        "seconds": seen.about["seconds"],
        "skipped": seen.about["skipped"],
    }


def compare(judged: Resampled, attack: str) -> Row:
    """Compare our detector with the best rival on an attack, and with the maximum softmax."""
    found = judged.beside_best(BEST, attack, apart=OURS)
    return {"best_rival": found.pop("best"), "ours": interval(judged.auc[BEST][attack]), **found}


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the AUC of every detector with its interval, a panel an attack; ours in colour."""
    from matplotlib.figure import Figure

    panels = [(network, name, table) for network, table in tables.items() for name in table["cells"]]
    rows = -(-len(panels) // COLUMNS)
    tallest = max(len(table["detectors"]) for table in tables.values())
    figure = Figure(figsize=(1.5 + 1.35 * COLUMNS, (0.15 * tallest + 0.6) * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
    for place, (axes, (network, name, table)) in enumerate(zip(grid.flat, panels, strict=False)):
        detectors = table["detectors"]
        lines = np.arange(len(detectors))[::-1]
        for line, row in zip(lines, detectors.values(), strict=True):
            value, low, high = row["auc"][name]
            axes.plot([low, high], [line, line], color=COLOURS[row["whose"]], linewidth=1)
            axes.plot(value, line, "o", color=COLOURS[row["whose"]], markersize=2.5)
        title = [network] * (len(tables) > 1) + [name]
        unseen = " (unseen)" if name in table["settings"]["unseen"] else ""
        axes.axvline(0.5, color="lightgrey", linewidth=0.8, zorder=0)
        axes.set_title("\n".join(title) + unseen, fontsize="x-small")
        axes.tick_params(labelsize="x-small")
        axes.set_yticks(lines, list(detectors) if place % COLUMNS == 0 else [])
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    """Return a line a detector, and a line an attack that we lose."""
    names = list(table["cells"])
    lines = [" " * 26 + " ".join(f"{name[-10:]:>10}" for name in names)]
    for detector, row in table["detectors"].items():
        lines.append(f"{detector:26}" + " ".join(f"{row['auc'][name][0]:10.3f}" for name in names))
    within, cells = table["within_the_best"]
    lines.append(f"{BEST}: best or within the interval of the best in {within} of {cells} attacks")
    for name, cell in table["cells"].items():
        if not cell["within"]:
            lines.append(f"  {name}: {cell['ours'][0]:.3f}, {cell['best_rival']} {cell['its_auc']:.3f}")
    lines += [f"{rival} left out: {why}" for rival, why in table["skipped"].items()]
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report, others=OTHERS)
