"""Ours beside every rival (Fig. 8, 17): the same images, the same splits, one threshold for all attacks.

Our detectors, CDRP with the paper's four classifiers, today's rivals, input transformations as detectors by
disagreement, and the baselines. Rivals are fitted on training images of the class paths. Correctly classified test
images are attacked and divided by source image, in five ways: on one part the detectors that need attacks learn
from all but the unseen ones, on another the threshold of each is fixed, the third is tested. Who is best in a cell
is told by `detection.contest`; attacks whose images are not rounded stand beside the cells. A rival that is not
for the network is listed with the reason. Seconds are process time of fitting and measuring.
"""

from __future__ import annotations

from detection.contest import best_of, contest, counted
from detection.judge import OURS, Protocol, interval, judge, settings
from detection.seen import Seen
from drawing import Panel, Series
from rivals import entrants
from sources import Row

COLOURS = {"ours": "tab:red", "baseline": "black", "rival": "tab:grey"}
BEST = "surprise"  # of ours, the one that is compared with each rival


def measure(seen: Seen) -> Row:
    """Judge every detector, and compare ours with the best rival of each attack."""
    judged = judge(seen, Protocol(others=entrants(seen.groups["clean"].arrays), unseen=seen.unseen))
    cells = {}
    for name, found in contest(judged, BEST, seen, apart=OURS).items():
        cells[name] = {"best_rival": found.pop("best"), "ours": interval(judged.auc[BEST][name]), **found}
    floats = {}
    for name in (group.name for group in seen.floats):
        best, its = best_of(judged, name, OURS)
        floats[name] = {
            "best_rival": best, "its_auc": round(its, 4), "ours": interval(judged.auc[BEST][name]),
        }  # fmt: skip
    return {
        "settings": settings(seen),
        "sizes": dict(judged.evaluations[0].sizes),
        "tested": {name: len(judged.evaluations[0].test[name]) for name in (*cells, *floats)},
        "detectors": judged.table(),
        "cells": cells,
        "floats": floats,
        "within_the_best": [sum(cell["within"] for cell in cells.values()), len(cells)],
        "kinds": counted(cells),
        "rival_images": seen.about["rival_images"],
        "seconds": seen.about["seconds"],
        "skipped": seen.about["skipped"],
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC of every detector, a panel per attack; ours in colour."""
    detectors = table["detectors"]
    found = []
    for name in table["cells"]:
        drawn = [
            Series(whose, [row["auc"][name] if row["whose"] == whose else None for row in detectors.values()],
                   style={"color": colour, "markersize": 2.5})
            for whose, colour in COLOURS.items()
        ]  # fmt: skip
        title = name + (" (unseen)" if name in table["settings"]["unseen"] else "")
        found.append(Panel(title, drawn, list(detectors), network, line=0.5))
    return found
