"""ROC of our detectors by attack (Fig. 6, 7, 16), and their AUC beside the paper's.

The paper's detector, the joint similarity, and joint surprise, in the order of attacks. AUCs are means over five
splits that are disjoint by source image, intervals a bootstrap over source images; beside them what the published
protocol gives, whose splits share source images. Curves are of the first split.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from detection.cases import Case
from detection.judge import FRACTIONS, SEEDS, Protocol, judge, settings
from detection.resampling import interval
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect import make_classifier, paper_split, suspicion
from effpath.detect.evaluate import BASELINES
from sources import Row

DETECTORS = ("linear", "surprise")
POINTS = 41  # of a curve


def measure(seen: Seen, case: Case) -> Row:
    """Measure our two linear detectors on every attack."""
    judged = judge(seen, Protocol(kinds=DETECTORS, unseen=seen.unseen))
    first = judged.evaluations[0]
    curves = {
        detector: {
            group.name: curve(first.suspicion[detector]["clean"], first.suspicion[detector][group.name])
            for group in seen.attacks
        }
        for detector in (*DETECTORS, *BASELINES)
    }
    published = published_auc(seen)
    linear = {name: interval(values) for name, values in judged.auc["linear"].items()}
    return {
        "settings": settings(seen),
        "sizes": dict(first.sizes),
        "tested": {group.name: len(first.test[group.name]) for group in seen.attacks},
        "detectors": judged.table(),
        "published_protocol": published,
        "paper": {
            name: {"paper": goal, "ours": linear[name][0], "met": linear[name][0] >= goal}
            for name, goal in case.paper.items()
            if name in linear
        },
        "curves": curves,
    }


def curve(clean: np.ndarray, attacked: np.ndarray) -> Row:
    """Return true positive rates at evenly spread false positive rates."""
    y = np.repeat([0, 1], [len(clean), len(attacked)])
    fpr, tpr, _ = roc_curve(y, np.concatenate([clean, attacked]))
    at = np.linspace(0, 1, POINTS) ** 2  # denser where rates are low
    return {"fpr": np.round(at, 4).tolist(), "tpr": np.round(np.interp(at, fpr, tpr), 4).tolist()}


def published_auc(seen: Seen) -> dict[str, float]:
    """Return the AUC of the joint similarity where splits are drawn per attack over rows, mean over seeds."""
    names = ["clean", *(group.name for group in seen.attacks)]
    values = {name: seen.groups[name].features.values for name in names}
    groups = np.repeat(np.arange(len(names)), [len(values[name]) for name in names])
    starts = dict(zip(names, np.cumsum([0, *(len(values[name]) for name in names)])[:-1], strict=True))
    found: dict[str, float] = {}
    for seed in SEEDS:
        parts = paper_split(
            groups, fractions=dict(zip(("train", "rest", "test"), FRACTIONS, strict=True)), seed=seed
        )

        def rows(name: str, part: str, parts: Mapping[str, np.ndarray] = parts) -> np.ndarray:
            inside = parts[part][(parts[part] >= starts[name]) & (parts[part] < starts[name] + len(values[name]))]
            return values[name][inside - starts[name]]

        for name in names[1:]:
            clean, attacked = rows("clean", "train"), rows(name, "train")
            model = make_classifier("linear", seed=seed)
            model.fit(np.concatenate([clean, attacked]), np.repeat([0, 1], [len(clean), len(attacked)]))
            scores = [suspicion(model, rows("clean", "test")), suspicion(model, rows(name, "test"))]
            y = np.repeat([0, 1], [len(part) for part in scores])
            found[name] = found.get(name, 0) + float(roc_auc_score(y, np.concatenate(scores))) / len(SEEDS)
    return {name: round(value, 4) for name, value in found.items()}


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the curves, an attack a panel."""
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
