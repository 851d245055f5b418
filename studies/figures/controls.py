"""How often images are flagged that were not attacked: noise, harmless squares, mistakes, what deployment meets.

At the threshold that flags 5 % of the clean images held out for it, beside the clean test images: our detectors,
and what was measured of rivals. Noise is as large as an attack, squares as large as a patch. Images with either
are still classified correctly, and only those of test sources count. Natural mistakes are clean images that the
network gets wrong; of them also the AUC against clean test images, as of an attack. Corrupted images, and those of
other data sets, are as they come: the share that the network gets right is told beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detection.judge import Protocol, interval, judge, ranked, resampled_auc, row_draws, settings, share
from detection.product import shipped
from detection.seen import MISTAKES, Seen, some_of
from drawing import Panel, Series
from effpath.detect import suspicion
from effpath.detect.classifiers import reading_of
from effpath.detect.evaluate import BASELINES, Entrant, Evaluation, Group
from rivals import entrants
from sources import Row

KINDS = ("linear", "surprise", "clean")
RATE = 0.05


def measure(seen: Seen, rate: float = RATE) -> Row:
    """Measure how often each control is flagged."""
    clean, sources = seen.groups["clean"], len(seen.groups["clean"].source)
    product = shipped(clean.arrays)
    others = {**product, **entrants(clean.arrays)}
    judged = judge(seen, Protocol(KINDS, others, unseen=seen.unseen, rate=rate))
    found: Row = {}
    for detector in (*KINDS, *BASELINES, *others):
        flagged, auc = flags(seen, judged.evaluations, detector, others)
        found[detector] = {
            "flagged": {name: interval(values) for name, values in flagged.items()},
            **({} if auc is None else {"mistakes_auc": interval(auc)}),
        }
    return {
        "settings": {"rate": rate, **settings(seen)},
        "images": {"clean": sources, **{name: len(control.source) for name, control in seen.controls.items()}},
        "correct": {name: correct(seen, name) for name in seen.controls},
        "product": list(product),
        "detectors": found,
    }


def flags(
    seen: Seen, evaluations: Sequence[Evaluation], detector: str, others: Mapping[str, Entrant]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return the share flagged of clean images and of each control, [1 + resamples], and the AUC of mistakes."""
    clean, sources = seen.groups["clean"], len(seen.groups["clean"].source)
    flagged: dict[str, list[np.ndarray]] = {"clean": [], **{name: [] for name in seen.controls}}
    auc = []
    for evaluation in evaluations:
        tested = clean.source[evaluation.test["clean"]]
        tested_scores = evaluation.suspicion[detector]["clean"]
        drawn = row_draws(tested, sources)
        flagged["clean"].append(share(tested_scores > evaluation.threshold[detector], drawn))
        for name, control in seen.controls.items():
            rows = np.flatnonzero((control.source < 0) | np.isin(control.source, tested))
            if name in evaluation.test:  # mistakes, some of which have fixed the threshold
                rows = np.concatenate([evaluation.test[name], rows[len(seen.mistakes.source) :]])
            scores = score(evaluation, detector, some_of(control, rows), others)
            draws = row_draws(control.source[rows], sources)
            flagged[name].append(share(scores > evaluation.threshold[detector], draws))
            if name == MISTAKES:
                auc.append(resampled_auc(ranked(tested_scores, drawn), scores, draws))
    shares = {name: np.mean(values, axis=0) for name, values in flagged.items()}
    return shares, np.mean(auc, axis=0) if auc else None


def correct(seen: Seen, name: str) -> float | None:
    """Return the share of a control that the network puts in its true class; None where there is none."""
    known = seen.labels[name] >= 0
    right = seen.controls[name].features.classes[known, 0] == seen.labels[name][known]
    return round(float(right.mean()), 4) if len(right) else None


def score(evaluation: Evaluation, detector: str, group: Group, others: Mapping[str, Entrant]) -> np.ndarray:
    """Return the suspicion [N] of images that were in no part of an evaluation."""
    if detector in BASELINES:
        return BASELINES[detector](group.features)
    read = others[detector].read(group) if detector in others else reading_of(detector).columns(group.features)
    classifier = evaluation.classifiers.get(detector)
    return read if classifier is None else suspicion(classifier, read)


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the share flagged of each control."""
    images = table["images"]
    drawn = [
        Series(detector, [row["flagged"][name] for name in images])
        for detector, row in table["detectors"].items()
        if detector in (*KINDS, *table.get("product", ()), *BASELINES)
    ]
    names = [f"{name} ({count})" for name, count in images.items()]
    return [Panel(network, drawn, names, network, (-0.02, 1.02), RATE, {"xlabel": "share flagged"})]
