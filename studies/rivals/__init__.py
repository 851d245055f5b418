"""Detectors of other people, one file each, judged by `effpath.detect.evaluate` on the same images as ours.

A rival is fitted on clean training images alone, ``Rival.fit(graph, images, labels, seed=…)``, and then measures
images, ``rival.measure(images)``: a suspicion of each [N], or columns [N, columns] that a classifier learns from
on the detector's training part. The graph may be on any device, images and labels are given on the CPU, and so is
what a rival measures. `RIVALS` lists them. None is ours: each file names the source, what it takes over
and what it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from effpath.detect import make_classifier
from effpath.detect.evaluate import Entrant
from rivals.cdrp import RoutingPaths
from rivals.density import ClassDensity
from rivals.lid import LocalDimension
from rivals.magnet import MagNet
from rivals.mahalanobis import Mahalanobis
from rivals.metzen import Activation, ActivationDetector
from rivals.neighbours import DeepNeighbours
from rivals.odds import BestSide, BothSides, LogOdds
from rivals.pid import Inconsistency
from rivals.ptolemy import ForwardPaths, forest
from rivals.squeezing import FeatureSqueezing
from rivals.transformations import CHANGES, Disagreement
from rivals.vim import VirtualLogit


@dataclass(frozen=True)
class Rival:
    """One line of the table.

    Attributes:
        fit: from graph, clean training images and labels; raises InputError where the network is not one for
            it, MissingExtraError where a library is missing.
        detectors: by name, what judges its measurements (several may read the same ones): from a group's array
            to what is looked at, and what learns from that.
    """

    fit: Callable[..., Any]
    detectors: Mapping[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], Callable[[int], Any] | None]]


def logistic(seed: int) -> Any:
    """A logistic regression on standardised columns, both classes weighing the same."""
    return make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000, random_state=seed)
    )


same = np.asarray
CDRP_KINDS = {"linear": "gates", "forest": "forest", "adaboost": "adaboost", "boosting": "boosting"}

RIVALS: dict[str, Rival] = {
    "log odds": Rival(
        LogOdds.fit,
        {
            "log odds, both sides": (same, lambda seed: BothSides()),
            "softmax rejection": (same, lambda seed: BestSide()),
        },
    ),
    "ViM": Rival(VirtualLogit.fit, {"ViM": (same, None)}),
    "Ptolemy": Rival(
        ForwardPaths.fit,
        {"Ptolemy, forward": (same, forest), "Ptolemy, forward, mean": (lambda layers: -layers.mean(1), None)},
    ),
    "PID": Rival(Inconsistency.fit, {"PID": (same, None)}),
    "squeezing": Rival(FeatureSqueezing.fit, {"feature squeezing": (same, None)}),
    "Mahalanobis": Rival(
        Mahalanobis.fit,
        {"Mahalanobis": (same, logistic), "Mahalanobis, sum": (lambda layers: layers.sum(1), None)},
    ),
    "LID": Rival(LocalDimension.fit, {"LID": (same, logistic)}),
    "density": Rival(ClassDensity.fit, {"kernel density": (same, None)}),
    "neighbours": Rival(
        DeepNeighbours.fit,
        {
            "deep kNN": (lambda columns: columns[:, 0], None),
            "deep kNN, network's class": (lambda columns: columns[:, 1], None),
        },
    ),
    "MagNet": Rival(MagNet.fit, {"MagNet": (same, None)}),
    "Metzen": Rival(Activation.fit, {"Metzen": (same, lambda seed: ActivationDetector(seed=seed))}),
    **{name: Rival(partial(Disagreement.fit, name), {name: (same, None)}) for name in CHANGES},
    "CDRP": Rival(
        RoutingPaths.fit,
        {
            f"CDRP, {name}": (same, lambda seed, kind=kind: make_classifier(kind, seed=seed))
            for name, kind in CDRP_KINDS.items()
        },
    ),
}


def entrants(measured: Collection[str]) -> dict[str, Entrant]:
    """Return the detectors of the measured rivals, for `effpath.detect.evaluate`; groups hold arrays by rival."""
    return {
        detector: Entrant(lambda group, name=name, look=look: look(group.arrays[name]), make)
        for name, rival in RIVALS.items()
        if name in measured
        for detector, (look, make) in rival.detectors.items()
    }
