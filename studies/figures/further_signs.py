"""Joint surprise with further signs: what rivals measure, that look at something else than paths.

Paths detect strong attacks and what is not an image. Whether the answer survives a change of the image detects
minimal-norm attacks, and whether image or activations are like those of training images, what paths miss of the
strong ones. So rivals that learn nothing from attacks are added to the four signs of joint surprise, each as
surprising as it is rare among clean images: every one alone, some of both kinds together, all, and all with
weights that are learned, with the two signs that look at paths and without them, with other floors of the
weights, and the four signs alone with learned weights. The best of a cell is taken of all detectors without
further signs, those of `figures.detectors` but CDRP. No adaptive attack was run against what is added.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from sklearn.pipeline import make_pipeline

from detection.contest import contest, counted
from detection.judge import Protocol, interval, intervals, judge, settings
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect import SIGNS, JointSurprise, make_classifier
from effpath.detect.classifiers import reading_of
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.scoring import FloatArray, SurpriseScore
from rivals import entrants
from sources import Row

KIND = "surprise"
FLOOR = 0.1  # what a sign counts at least where weights are learned
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


class PathlessScore(SurpriseScore):
    """The two signs that look at paths never surprise."""

    def surprises(self, X: FloatArray) -> FloatArray:
        found = super().surprises(X)
        found[:, :2] = 0
        return found


class WithoutPaths(JointSurprise):
    """Joint surprise without the two signs that look at paths."""

    def as_score(self) -> PathlessScore:
        return PathlessScore.of(self)


def signs_among(measured: Collection[str]) -> dict[str, Entrant]:
    """Return those of the measured rivals that learn nothing from attacks, and look at no paths."""
    return {name: rival for name, rival in entrants(set(measured) - {"Ptolemy"}).items() if rival.make is None}


def with_signs(
    signs: Sequence[Entrant], *, floor: float = 1.0, make: Callable[..., JointSurprise] = JointSurprise
) -> Entrant:
    """Return joint surprise that reads the signs as its last columns; what is missing is filled in as without."""

    def read(group: Group) -> np.ndarray:
        return np.column_stack([reading_of(KIND).columns(group.features), *(rival.read(group) for rival in signs)])

    return Entrant(
        read,
        lambda seed: make_pipeline(make_classifier(KIND, seed=seed)[0], make(further=len(signs), floor=floor)),
    )


def measure(seen: Seen) -> Row:
    """Judge joint surprise with each of the further signs, with some together, with all, and these weighed."""
    measured = seen.groups["clean"].arrays
    others, signs = entrants(set(measured) - {"CDRP"}), signs_among(measured)
    sets = {
        **{name: (name,) for name in signs},
        **{", ".join(members): members for members in TOGETHER if set(members) <= set(signs)},
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
        f"{KIND} + {name}": with_signs([signs[one] for one in members], **options.get(name, {}))
        for name, members in sets.items()
    }
    judged = judge(seen, Protocol((KIND,), others={**others, **longer}, unseen=seen.unseen))
    aucs = judged.aucs()
    found = {}
    for name, members in sets.items():
        detector = f"{KIND} + {name}"
        cells = {
            attack: {
                "auc": aucs[detector][attack],
                "tpr": interval(judged.tpr[detector][0.05][attack]),
                **cell,
                "softmax": aucs["max softmax"][attack][0],
            }
            for attack, cell in contest(judged, detector, seen, apart=longer).items()
        }
        weights = [split.classifiers[detector][-1].weights_ for split in judged.evaluations]
        found[name] = {
            "signs": list(members),
            "weights": dict(zip((*SIGNS, *members), np.mean(weights, 0).round(3).tolist(), strict=True)),
            "auc": aucs[detector],
            "beyond_surprise": interval(judged.mean[detector] - judged.mean[KIND]),
            "within_the_best": [sum(cell["within"] for cell in cells.values()), len(cells)],
            "kinds": counted(cells),
            "fpr": round(judged.false_alarms[detector][0.05], 4),
            "cells": cells,
        }
    added: Row = {}
    if WEIGHED in found:
        with_paths, without = (judged.with_mean(f"{KIND} + {name}") for name in (WEIGHED, PATHLESS))
        added = intervals({name: values - without[name] for name, values in with_paths.items()})
    return {
        "settings": settings(seen),
        "tested": {group.name: len(judged.evaluations[0].test[group.name]) for group in seen.attacks},
        "without": aucs[KIND],
        "alone": {name: aucs[name]["mean"] for name in signs},
        "best_alone": max(aucs[name]["mean"] for name in aucs if name not in longer and name != KIND),
        "with": found,
        "added_by_paths": added,
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC over attacks with further signs, and of these alone."""
    names = list(table["with"])
    drawn = [
        Series("alone", [table["alone"].get(name) for name in names], style={"color": "tab:grey"}),
        Series("with joint surprise", [result["auc"]["mean"] for result in table["with"].values()]),
    ]
    axes = {"xlabel": "AUC, mean over attacks; the line:\nthe four signs of joint surprise"}
    return [Panel(network, drawn, names, network, line=table["without"]["mean"][0], axes=axes)]
