"""How often images are flagged that were not attacked: noise as large as an attack, and natural mistakes.

At the threshold that flags 5 % of the clean images held out for it, beside the clean test images. Noisy images
are still classified correctly, and only those of test sources count. Natural mistakes are clean images that the
network gets wrong; of them also the AUC against clean test images, as of an attack.
"""

from __future__ import annotations

import numpy as np

from detection.judge import Protocol, interval, judge, resampled_auc, row_draws, settings, share
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect import suspicion
from effpath.detect.classifiers import reading_of
from effpath.detect.evaluate import BASELINES
from sources import Row

KINDS = ("linear", "surprise", "clean")
MISTAKES = "natural mistakes"
RATE = 0.05


def measure(seen: Seen, rate: float = RATE) -> Row:
    """Measure how often each control is flagged."""
    judged = judge(seen, Protocol(KINDS, unseen=seen.unseen, rate=rate))
    clean, sources = seen.groups["clean"], len(seen.groups["clean"].source)
    found: Row = {}
    for detector in (*KINDS, *BASELINES):
        flagged: dict[str, list[np.ndarray]] = {"clean": [], **{name: [] for name in seen.controls}}
        auc = []
        for evaluation in judged.evaluations:
            tested = clean.source[evaluation.test["clean"]]
            tested_scores = evaluation.suspicion[detector]["clean"]
            drawn = row_draws(tested, sources)
            flagged["clean"].append(share(tested_scores > evaluation.threshold[detector], drawn))
            for name, control in seen.controls.items():
                rows = np.flatnonzero((control.source < 0) | np.isin(control.source, tested))
                features = control.features[rows]
                if detector in BASELINES:
                    scores = BASELINES[detector](features)
                else:
                    scores = suspicion(evaluation.classifiers[detector], reading_of(detector).columns(features))
                draws = row_draws(control.source[rows], sources)
                flagged[name].append(share(scores > evaluation.threshold[detector], draws))
                if name == MISTAKES:
                    auc.append(resampled_auc(tested_scores, scores, drawn, draws))
        found[detector] = {
            "flagged": {name: interval(np.mean(values, axis=0)) for name, values in flagged.items()},
            **({"mistakes_auc": interval(np.mean(auc, axis=0))} if auc else {}),
        }
    return {
        "settings": {"rate": rate, **settings(seen)},
        "images": {"clean": sources, **{name: len(control.source) for name, control in seen.controls.items()}},
        "detectors": found,
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the share flagged of each control."""
    images = table["images"]
    drawn = [
        Series(detector, [row["flagged"][name] for name in images]) for detector, row in table["detectors"].items()
    ]
    names = [f"{name} ({count})" for name, count in images.items()]
    return [Panel(network, drawn, names, network, (-0.02, 1.02), RATE, {"xlabel": "share flagged"})]
