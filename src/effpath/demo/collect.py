"""From what the demo's steps left to its result."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sklearn
import torch

from effpath.attacks import AdversarialSet
from effpath.class_paths.class_paths import ClassPaths
from effpath.data import Dataset, Part
from effpath.demo.options import DemoOptions
from effpath.demo.result import AttackResult, DemoResult, Example, headline_of
from effpath.detect.evaluate import BASELINES, Evaluation, Group
from effpath.rules import LEVELS

_PAPER = {
    "mnist": {
        "density": 0.138,
        "class similarity": 0.5,
        "most special": "1",
        "AUC": (0.92, 0.95),
        "random detected": 0.9385,
    }
}


@dataclass(frozen=True, eq=False)
class Measured:
    """What the demo's steps left.

    Attributes:
        options: what was run.
        data: labelled by the network's outputs.
        accuracy: on ``test_images`` test images.
        class_paths: of the training images.
        clean: the test images that were attacked.
        attacked: what each attack made of them.
        groups: what detectors look at, ``clean`` first, then by attack.
        judged: how well they do.
        seconds: by step.
    """

    options: DemoOptions
    data: Dataset
    accuracy: float
    test_images: int
    class_paths: ClassPaths
    clean: Part
    attacked: Mapping[str, AdversarialSet]
    groups: Mapping[str, Group]
    judged: Evaluation
    seconds: Mapping[str, float]


def result_of(measured: Measured) -> DemoResult:
    """Return everything that table and report show."""
    options, data, judged = measured.options, measured.data, measured.judged
    class_paths, overall = measured.class_paths, measured.class_paths.overall
    detectors = (*judged.classifiers, *BASELINES)
    return DemoResult(
        title=f"{options.network} on {data.name}",
        provenance=_provenance(measured),
        network=options.network,
        accuracy=measured.accuracy,
        test_images=measured.test_images,
        density={level: overall.density(level) for level in LEVELS},
        layer_density={level: overall.layer_density(level) for level in LEVELS},
        classes=data.classes,
        class_images=tuple(class_paths[label].images for label in class_paths.classes),
        class_similarity=class_paths.class_similarity(),
        layers=tuple(layer.name for layer in class_paths.header.layers),
        similarity={name: group.features.values[judged.test[name]] for name, group in measured.groups.items()},
        roc=judged.suspicion,
        threshold=judged.threshold,
        fpr=judged.fpr,
        detectors=detectors,
        attacks=tuple(_attack(measured, name, made, detectors) for name, made in measured.attacked.items()),
        examples=examples_of(measured),
        paper=_PAPER.get(data.name, {}) if options.model is None else {},
    )


def _provenance(measured: Measured) -> dict[str, Any]:
    options, header = measured.options, measured.class_paths.header
    return {
        "command": options.command,
        **{name: value for name, value in asdict(options).items() if name not in ("model", "weights")},
        "data": measured.data.name,
        "model": options.network,
        "theta": header.options.theta,
        "train_images": measured.class_paths.seen,
        "sources": dict(measured.judged.sizes),
        "fingerprint": header.fingerprint,
        "seconds": dict(measured.seconds),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
    }


def _attack(measured: Measured, name: str, made: AdversarialSet, detectors: tuple[str, ...]) -> AttackResult:
    norms, judged = made.norms(), measured.judged
    return AttackResult(
        name,
        made.settings,
        made.tried,
        made.successes,
        norms.l0,
        norms.l2,
        norms.linf,
        len(judged.test[name]),
        name not in measured.options.unseen,
        {detector: judged.scores[detector][name] for detector in detectors},
    )


def examples_of(measured: Measured, count: int = 3) -> tuple[Example, ...]:
    """Return flagged test images of different attacks and classes whose clean originals are not flagged."""
    judged, groups, labels = measured.judged, measured.groups, measured.clean.labels.tolist()
    detector = headline_of(judged.classifiers)
    scores, threshold = judged.suspicion[detector], judged.threshold[detector]
    clean_score = dict(
        zip(groups["clean"].source[judged.test["clean"]].tolist(), scores["clean"].tolist(), strict=True)
    )
    picked: list[Example] = []
    used: set[int] = set()
    for name, made in measured.attacked.items():
        rows = judged.test[name].tolist()
        for row, score in sorted(zip(rows, scores[name].tolist(), strict=True), key=lambda pair: -pair[1]):
            source = int(groups[name].source[row])
            if source < 0 or labels[source] in used or score <= threshold or clean_score[source] > threshold:
                continue
            used.add(labels[source])
            picked.append(
                Example(
                    attack=name,
                    clean=measured.clean.images[source : source + 1][0].numpy(),
                    adversarial=made.fooling[row].numpy(),
                    label=measured.data.classes[labels[source]],
                    predicted=measured.data.classes[int(groups[name].features.classes[row, 0])],
                    clean_score=clean_score[source],
                    score=score,
                    threshold=threshold,
                    clean_similarity=groups["clean"].features.values[source],
                    similarity=groups[name].features.values[row],
                )
            )
            break
    return tuple(picked[-count:])
