"""Why an image is suspicious: what each layer's path similarity, and each sign, adds to the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effpath.detect.features import Features, Reading
from effpath.detect.scoring import (
    SIGNS,
    CleanScore,
    CombinedScore,
    FloatArray,
    JointScore,
    Scoring,
    SurpriseScore,
)
from effpath.detect.signs.similarity import EarlySimilarity
from effpath.errors import OptionError
from effpath.files.plain import percent

if TYPE_CHECKING:
    from effpath.detect.saved import DetectorMixin

USUAL = 0.5
"""The share of clean images from which on a sign is not worth telling."""


@dataclass(frozen=True)
class Reason:
    """A layer that speaks for an attack, by the similarity in it that speaks most for one.

    Attributes:
        layer: its name.
        suspicion: what all similarities of the layer add to the score, beside their usual values; above 0. Where
            signs are combined, how far below its usual value the similarity lies.
        rank: 1, where less of the image's path than usual lies in its class's path; 2, where more of the path
            of the runner-up than usual lies in that class's.
        level: synapses, neurons or weights.
        similarity: the share of the image's path that lies in the class path.
        usual: its median over the images that the detector was fitted on; over those that its threshold was fixed
            on, where signs are combined.
        label: the class whose path it is.
    """

    layer: str
    suspicion: float
    rank: int
    level: str
    similarity: float
    usual: float
    label: int

    def __str__(self) -> str:
        """Say it in words."""
        whose = "its path" if self.rank == 1 else "the runner-up's path"
        return (
            f"{self.layer}: {percent(self.similarity)} of the {self.level} of {whose} lie in the path of class "
            f"{self.label}, usually {percent(self.usual)}"
        )


def strongest_layers(detector: DetectorMixin, features: Features, *, count: int = 3) -> list[list[Reason]]:
    """Return for each image the layers, at most ``count``, that speak most for an attack; the strongest first.

    An image that has no such layer gets an empty list.

    Raises:
        OptionError: the classifier's score is no sum over the similarities (forests, boosting), or not fitted.
    """
    scoring = detector.scoring
    if scoring is None:
        raise OptionError(
            "expected a detector that sums over layers (linear, clean, surprise), got one of kind "
            f"{detector.name!r}"
        )
    return layers_of(scoring, detector.read(features), features, count)


def strongest_signs(detector: DetectorMixin, features: Features) -> list[str] | None:
    """Return for each image which sign adds most to its score; None for kinds without them."""
    found = signs_of_images(detector.scoring, detector.reading, features)
    return None if found is None else [signs[0][0] for signs in found]


def feature_suspicion(scoring: Scoring, read: FloatArray, features: Features) -> FloatArray:
    """Return what each similarity adds to the score, [N, features], from the columns that were read, [N, columns].

    Linear: ω · (J − J's median over the images fitted on), above 0 where it speaks for an attack. Clean: the log
    odds. Surprise: as linear, to the first of its four signs, in nats of the tail. Combined signs: how far below
    its usual value the similarity of an early layer lies, which is no part of the score.
    """
    columns, score = scoring.filled(read), scoring.score
    if isinstance(score, CleanScore):
        return score.summands(columns)
    if isinstance(score, CombinedScore):
        return _below_usual(scoring, features)
    beside = columns - scoring.usual
    if isinstance(score, JointScore):
        return beside * score.coef
    sets = len(score.similarity.coef)
    added = np.zeros(features.values.shape)
    added[:, :sets] = beside[:, :sets] * score.similarity.coef * (score.weights[0] / score.excess[0])
    return added


def _below_usual(scoring: Scoring, features: Features) -> FloatArray:
    """Return how far similarities of early layers lie below their usual values; 0 where there is none."""
    added = np.zeros(features.values.shape)
    if scoring.layers is not None:
        early = (len(scoring.layers) + 1) // 2
        added[:, :early] = np.nan_to_num(scoring.layers[:early] - features.values[:, :early])
    return added


def sign_names(scoring: Scoring, reading: Reading) -> tuple[str, ...]:
    """Return what the signs are called that a score sums over, () for kinds without them."""
    score = scoring.score
    if isinstance(score, SurpriseScore):
        further = len(score.weights) - len(SIGNS)
        return *SIGNS, *(f"further sign {place + 1}" for place in range(further))
    if isinstance(score, CombinedScore) and reading.profile is not None:
        return reading.profile.says
    return ()


def sign_of_layers(scoring: Scoring) -> str:
    """Return the name of the sign that the layers stand behind."""
    return SIGNS[0] if isinstance(scoring.score, SurpriseScore) else EarlySimilarity.says[0]


def signs_of_images(
    scoring: Scoring | None, reading: Reading, features: Features
) -> list[list[tuple[str, float]]] | None:
    """Return the signs of each image, strongest first: name, share of clean images that show it as strongly.

    None for kinds without signs.
    """
    if scoring is None or not isinstance(scoring.score, SurpriseScore | CombinedScore):
        return None
    score, names = scoring.score, sign_names(scoring, reading)
    columns = scoring.filled(reading.columns(features))
    surprises = score.surprises(columns)  # [N, signs], in nats
    order = np.lexsort((-surprises, -score.parts(columns)), axis=1)
    return [
        [(names[place], float(np.exp(-row[place]))) for place in places]
        for places, row in zip(order, surprises, strict=True)
    ]


def sign_said(sign: str, share: float) -> str:
    """Say how many clean images show a sign as strongly as an image."""
    return f"{sign}: {percent(share)} of clean images show this at least as strongly"


def layers_of(scoring: Scoring, read: FloatArray, features: Features, count: int = 3) -> list[list[Reason]]:
    """Return for each image what `strongest_layers` does, of the columns that were read, [N, columns]."""
    added = feature_suspicion(scoring, read, features)
    usuals = scoring.usual if scoring.layers is None else scoring.layers
    names = [name.split(":", 2) for name in features.names]
    columns: dict[str, list[int]] = {}
    for column, (_, _, layer) in enumerate(names):
        columns.setdefault(layer, []).append(column)
    layers = list(columns.items())
    totals = np.stack([added[:, places].sum(axis=1) for _, places in layers], axis=1)  # [N, layers]
    found = []
    for row, sums in enumerate(totals):
        reasons: list[Reason] = []
        for place in np.argsort(-sums, kind="stable"):
            layer, places = layers[place]
            places = [column for column in places if not np.isnan(features.values[row, column])]
            if not sums[place] > 0 or len(reasons) == count:
                break
            if places:
                at = max(places, key=added[row].__getitem__)
                rank, suspicion = int(names[at][0].removeprefix("rank")), float(sums[place])
                similarity, usual = float(features.values[row, at]), float(usuals[at])
                label = int(features.classes[row, rank - 1])
                reasons.append(Reason(layer, suspicion, rank, names[at][1], similarity, usual, label))
        found.append(reasons)
    return found
