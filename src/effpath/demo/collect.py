"""From what the demo's steps left to its result."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict

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

_PAPER = {  # of LeNet-5 on MNIST
    "density": 0.138, "class similarity": 0.5, "most special": "1", "AUC": (0.92, 0.95), "random detected": 0.9385,
}  # fmt: skip


def result_of(
    options: DemoOptions,
    data: Dataset,
    correct: torch.Tensor,
    class_paths: ClassPaths,
    clean: Part,
    attacked: Mapping[str, AdversarialSet],
    groups: Mapping[str, Group],
    judged: Evaluation,
    seconds: Mapping[str, float],
) -> DemoResult:
    """Return everything that table and report show.

    Args:
        options: what was run.
        data: labelled by the network's outputs.
        correct: bool [N], which test images the network classifies as labelled.
        class_paths: of the training images.
        clean: the test images that were attacked.
        attacked: what each attack made of them.
        groups: what detectors look at, ``clean`` first, then by attack.
        judged: how well they do.
        seconds: by step.
    """
    header, overall = class_paths.header, class_paths.overall
    detectors = (*judged.classifiers, *BASELINES)
    return DemoResult(
        title=f"{options.network} on {data.name}",
        provenance={
            "command": options.command,
            **{name: value for name, value in asdict(options).items() if name not in ("model", "weights")},
            "data": data.name,
            "model": options.network,
            "theta": header.options.theta,
            "train_images": class_paths.seen,
            "sources": dict(judged.sizes),
            "fingerprint": header.fingerprint,
            "seconds": dict(seconds),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "scikit-learn": sklearn.__version__,
                "numpy": np.__version__,
            },
        },
        network=options.network,
        accuracy=float(correct.double().mean()),
        test_images=len(correct),
        density={level: overall.density(level) for level in LEVELS},
        layer_density={level: overall.layer_density(level) for level in LEVELS},
        classes=data.classes,
        class_images=tuple(class_paths[label].images for label in class_paths.classes),
        class_similarity=class_paths.class_similarity(),
        layers=tuple(layer.name for layer in header.layers),
        similarity={name: group.features.values[judged.test[name]] for name, group in groups.items()},
        roc=judged.suspicion,
        threshold=judged.threshold,
        fpr=judged.fpr,
        detectors=detectors,
        attacks=tuple(
            AttackResult(
                name,
                made.settings,
                made.tried,
                made.successes,
                *made.norms(),
                tested=len(judged.test[name]),
                seen=name not in options.unseen,
                scores={detector: judged.scores[detector][name] for detector in detectors},
            )
            for name, made in attacked.items()
        ),
        examples=examples_of(data.classes, clean, attacked, groups, judged),
        paper=_PAPER if data.name == "mnist" and options.model is None else {},
    )


def examples_of(
    classes: Sequence[str],
    clean: Part,
    attacked: Mapping[str, AdversarialSet],
    groups: Mapping[str, Group],
    judged: Evaluation,
) -> tuple[Example, ...]:
    """Return at most three flagged images, of different attacks and classes, whose originals are not flagged."""
    detector, labels = headline_of(judged.classifiers), clean.labels.tolist()
    scores, threshold = judged.suspicion[detector], judged.threshold[detector]
    tested = groups["clean"].source[judged.test["clean"]].tolist()
    clean_score = dict(zip(tested, scores["clean"].tolist(), strict=True))
    picked: list[Example] = []
    used: set[int] = set()
    for name, made in attacked.items():
        rows = judged.test[name].tolist()
        for row, score in sorted(zip(rows, scores[name].tolist(), strict=True), key=lambda pair: -pair[1]):
            source = int(groups[name].source[row])
            if source < 0 or labels[source] in used or score <= threshold or clean_score[source] > threshold:
                continue
            used.add(labels[source])
            picked.append(
                Example(
                    attack=name,
                    clean=clean.images[source : source + 1][0].numpy(),
                    adversarial=made.fooling[row].numpy(),
                    label=classes[labels[source]],
                    predicted=classes[int(groups[name].features.classes[row, 0])],
                    clean_score=clean_score[source],
                    score=score,
                    threshold=threshold,
                    clean_similarity=groups["clean"].features.values[source],
                    similarity=groups[name].features.values[row],
                )
            )
            break
    return tuple(picked[-3:])
