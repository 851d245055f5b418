"""ROC of our detectors by attack (Fig. 6, 7, 16), and their AUC beside the paper's.

The paper's detector, the joint similarity, and joint surprise, in the order of attacks; beside
them what the published protocol gives, whose splits share source images. Curves are of the first split.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from detection.judge import FRACTIONS, SEEDS, Protocol, judge, settings
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect import make_classifier, paper_split, suspicion
from effpath.detect.evaluate import BASELINES
from sources import Row

DETECTORS = ("linear", "surprise")
POINTS = 41  # of a curve


def measure(seen: Seen) -> Row:
    """Measure our two linear detectors on every attack."""
    judged = judge(seen, Protocol(kinds=DETECTORS, unseen=seen.unseen))
    first = judged.evaluations[0]
    attacks = [*seen.attacks, *seen.floats]
    auc = {kind: {name: float(values[0]) for name, values in judged.auc[kind].items()} for kind in DETECTORS}
    return {
        "settings": settings(seen),
        "sizes": dict(first.sizes),
        "tested": {group.name: len(first.test[group.name]) for group in attacks},
        "detectors": judged.table(),
        "published_protocol": published_auc(seen),
        "paper": {
            name: {
                "paper": goal,
                "ours": round(auc["linear"][name], 4),
                "met": auc["linear"][name] >= goal,
                "met_by_surprise": auc["surprise"][name] >= goal,
            }
            for name, goal in seen.case.paper.items()
            if name in auc["linear"]
        },
        "curves": {
            detector: {group.name: curve(scores["clean"], scores[group.name]) for group in attacks}
            for detector in (*DETECTORS, *BASELINES)
            if (scores := first.suspicion[detector])
        },
    }


def curve(clean: np.ndarray, attacked: np.ndarray) -> Row:
    """Return true positive rates at evenly spread false positive rates."""
    y = np.repeat([0, 1], [len(clean), len(attacked)])
    fpr, tpr, _ = roc_curve(y, np.concatenate([clean, attacked]))
    at = np.linspace(0, 1, POINTS) ** 2  # denser where rates are low
    return {"fpr": np.round(at, 4).tolist(), "tpr": np.round(np.interp(at, fpr, tpr), 4).tolist()}


def published_auc(seen: Seen) -> dict[str, float]:
    """Return the AUC of the joint similarity where splits are drawn per attack over rows, mean over seeds.

    Where a part of a split has no image of an attack, that split does not count; nor an attack, where none does.
    """
    attacks = [*seen.attacks, *seen.floats]
    groups = [seen.groups["clean"], *attacks]
    values = np.concatenate([group.features.values for group in groups])
    kinds = np.repeat(np.arange(len(groups)), [len(group.source) for group in groups])
    fractions = dict(zip(("train", "rest", "test"), FRACTIONS, strict=True))
    found: dict[str, list[float]] = {group.name: [] for group in attacks}
    for seed in SEEDS:
        parts = paper_split(kinds, fractions=fractions, seed=seed)
        for kind, name in enumerate(found, 1):
            train, test = (parts[part][np.isin(kinds[parts[part]], (0, kind))] for part in ("train", "test"))
            if not all((kinds[part] == kind).any() for part in (train, test)):
                continue
            model = make_classifier("linear", seed=seed).fit(values[train], (kinds[train] > 0).astype(int))
            found[name].append(float(roc_auc_score(kinds[test] > 0, suspicion(model, values[test]))))
    return {name: round(float(np.mean(each)), 4) for name, each in found.items() if each}


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the curves, a panel per attack."""
    surprise, linear = (table["detectors"][kind]["auc"] for kind in ("surprise", "linear"))
    found = []
    for name in table["tested"]:
        drawn = [
            Series(detector, curves[name]["tpr"], curves[name]["fpr"])
            for detector in ("energy", "max softmax", "linear", "surprise")
            if (curves := table["curves"][detector])
        ]
        (value, low, high), goal = linear[name], table["paper"].get(name, {}).get("paper")
        beside = "" if goal is None else f", the paper's {goal}"
        words = [f"AUC: linear {value:.3f} ({low:.3f} – {high:.3f}){beside}, surprise {surprise[name][0]:.3f}"]
        axes = {"ylabel": "true positive rate"} if not found else {}
        if name == list(table["tested"])[-1]:
            axes["xlabel"] = "false positive rate"
        found.append(Panel(name, drawn, row=network, span=(-0.02, 1.02), axes=axes, words=words))
    return found
