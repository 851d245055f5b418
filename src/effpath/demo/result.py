"""What the demo measured: everything that its table and its report show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.detect.conformal import true_rate
from effpath.detect.evaluate import Score
from effpath.detect.explain import USUAL
from effpath.detect.metrics import Interval, allowed_above
from effpath.views.page.words import SENTENCE_NAMES, detector_name
from effpath.views.report.overview import Overview

TOLD = 3
"""How many signs of an example are told."""


def headline_of(detectors: Iterable[str]) -> str:
    """Return the detector that is presented first: of `SENTENCE_NAMES` the first that is there, else the first."""
    names = list(detectors)
    return next((name for name in SENTENCE_NAMES if name in names), names[0])


@dataclass(frozen=True, eq=False)
class AttackResult:
    """One attack: how it went, and how well each detector finds it.

    Attributes:
        name: of the attack.
        settings: all of them.
        tried, succeeded: images attacked, images that fooled the network.
        l0, l2, linf: median size of the successful perturbations; NaN for random images.
        tested: adversarial images in the test part.
        seen: whether the detectors were trained on this attack.
        scores: by detector.
    """

    name: str
    settings: Mapping[str, Any]
    tried: int
    succeeded: int
    l0: float
    l2: float
    linf: float
    tested: int
    seen: bool
    scores: Mapping[str, Score]


@dataclass(frozen=True, eq=False)
class Example:
    """A flagged adversarial image beside its clean original.

    Attributes:
        attack: its name.
        clean, adversarial: float32 [C, H, W] in [0, 1].
        label, predicted: names of the true class and of the class it was taken for.
        clean_score, score: suspicion of both; ``threshold`` is the detector's.
        clean_similarity, similarity: [rank 1 … rank 2 …] of both.
        signs: of the adversarial image, strongest first: what each says, and the share of clean images that show
            it as strongly; none where the detector has no signs.
    """

    attack: str
    clean: NDArray[np.float32]
    adversarial: NDArray[np.float32]
    label: str
    predicted: str
    clean_score: float
    score: float
    threshold: float
    clean_similarity: NDArray[np.float64]
    similarity: NDArray[np.float64]
    signs: tuple[tuple[str, float], ...] = ()

    @property
    def strongest(self) -> tuple[tuple[str, float], ...]:
        """The strongest of its signs that are unusual, at most `TOLD`."""
        return tuple(sign for sign in self.signs if sign[1] < USUAL)[:TOLD]


@dataclass(frozen=True, eq=False)
class DemoResult:
    """Everything the demo measured.

    Attributes:
        title: of the report.
        provenance: command, seed, preset, θ, sizes, versions, seconds by step.
        network: its name; ``accuracy`` on ``test_images`` test images.
        overview: what its class paths show.
        similarity: by group (``clean``, then the attacks), the features of its test images
            [n, 2 · layers]: rank 1 first.
        roc: by detector, then group: suspicion of each test image.
        threshold, fpr: by detector; an infinite threshold if too few clean images were held out to fix one.
        detectors: names, the trained ones first.
        attacks: one result each.
        examples: flagged images.
        paper: the paper's figures for this setting; empty where it has none.
    """

    title: str
    provenance: Mapping[str, Any]
    network: str
    accuracy: float
    test_images: int
    overview: Overview
    similarity: Mapping[str, NDArray[np.float64]]
    roc: Mapping[str, Mapping[str, NDArray[np.float64]]]
    threshold: Mapping[str, float]
    fpr: Mapping[str, float]
    detectors: tuple[str, ...]
    attacks: tuple[AttackResult, ...]
    examples: tuple[Example, ...]
    paper: Mapping[str, Any]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that its class paths cover, in forward order."""
        return tuple(layer.name for layer in self.overview.layers)

    @property
    def true_rate(self) -> Interval | None:
        """How often clean images exceed thresholds that are fixed like these: on average, in nine of ten.

        None if it is not known, or where nothing is flagged.
        """
        held, fpr = self.provenance.get("sources", {}).get("calibrate"), self.provenance.get("fpr")
        if held is None or fpr is None or not allowed_above(held, fpr):
            return None
        return true_rate(held, fpr)

    @property
    def headline(self) -> str:
        """The detector that is presented first: see `headline_of`."""
        return headline_of(self.detectors)

    @property
    def headline_name(self) -> str:
        """Its name in a sentence."""
        return detector_name(self.headline)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers (no images, no score lists) as plain values, for JSON."""
        seen = self.overview
        about = ("title", "provenance", "network", "accuracy", "test_images")
        return {
            **{name: getattr(self, name) for name in about},
            "density": seen.density,
            "layer_density": seen.layer_density,
            "classes": seen.classes,
            "class_images": seen.class_images,
            "class_similarity": seen.similarity.round(4).tolist(),
            "threshold": self.threshold,
            "fpr": self.fpr,
            "attacks": [dataclasses.asdict(attack) for attack in self.attacks],
            "paper": self.paper,
            "mean_class_similarity": seen.mean_class_similarity,
            "most_special": seen.most_special,
            "headline": self.headline,
        }
