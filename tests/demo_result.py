"""A result of the demo without a demo: made-up numbers of every kind that the report and the tables show."""

from __future__ import annotations

import math

import numpy as np

from effpath.demo.result import AttackResult, DemoResult, Example
from effpath.detect.evaluate import Score
from effpath.detect.metrics import Interval
from overviews import make_overview

ATTACKS = ("FGSM", "CWL2", "Random")
AUCS = {"linear": 0.95, "forest": 0.94, "max softmax": 0.90, "energy": 0.85, "surprise": 0.97, "standard": 0.98}
DETECTORS = ("linear", "forest", "max softmax", "energy")
PATHS = (*DETECTORS, "surprise")
ALL = (*PATHS, "standard")
SIGNS = (("unsure", 0.004), ("changes its mind after JPEG", 0.02), ("too sure", 0.9))


def score(auc: float) -> Score:
    return Score(Interval(auc, auc - 0.01, min(1.0, auc + 0.01)), Interval(auc - 0.1, auc - 0.15, auc - 0.05))


def make_result(
    *,
    classes: tuple[str, ...] = ("zero", "one", "two"),
    layers: tuple[str, ...] = ("conv1", "conv2", "fc1"),
    channels: int = 1,
    detectors: tuple[str, ...] = DETECTORS,
    paper: dict[str, object] | None = None,
) -> DemoResult:
    rng = np.random.default_rng(0)
    images, width = 60, 2 * len(layers)
    groups = ("clean", *ATTACKS)
    similarity = {group: rng.uniform(0.2, 1, (images, width)) for group in groups}
    similar = rng.uniform(0.1, 0.6, (len(classes), len(classes)))
    similar = (similar + similar.T) / 2
    np.fill_diagonal(similar, 1)
    clean = rng.uniform(0, 1, (channels, 8, 8)).astype(np.float32)
    example = Example(
        "FGSM",
        clean,
        np.clip(clean + 0.1, 0, 1),
        classes[0],
        classes[1],
        -0.5,
        1.5,
        0.2,
        rng.uniform(0.5, 1, width),
        rng.uniform(0, 0.5, width),
        SIGNS if "standard" in detectors else (),
    )
    aucs = {name: AUCS[name] for name in detectors}
    return DemoResult(
        title="LeNet-5 on digits",
        provenance={
            "command": "effpath demo --data digits",
            "seed": 0,
            "theta": 0.5,
            "fpr": 0.05,
            "sources": {"train": 10, "calibrate": 20, "test": 60},
            "fingerprint": "abc123",
            "seconds": {"training": 1.5},
            "versions": {"torch": "2.6"},
        },
        network="LeNet-5",
        accuracy=0.975,
        test_images=719,
        overview=make_overview(classes=classes, layers=layers, similarity=similar),
        similarity=similarity,
        roc={
            name: {group: rng.normal(0 if group == "clean" else 2, 1, images) for group in groups}
            for name in detectors
        },
        threshold=dict.fromkeys(detectors, 1.0),
        fpr=dict.fromkeys(detectors, 0.065),
        detectors=detectors,
        attacks=tuple(
            AttackResult(
                name,
                {"steps": 10},
                80,
                70,
                *((math.nan,) * 3 if name == "Random" else (5.0, 0.5, 0.1)),
                images,
                name != "Random",
                {detector: score(auc) for detector, auc in aucs.items()},
            )
            for name in ATTACKS
        ),
        examples=(example,),
        paper=paper or {},
    )
