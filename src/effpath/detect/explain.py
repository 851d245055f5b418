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
from effpath.detect.signs.profiles import PROFILES
from effpath.errors import OptionError
from effpath.files.plain import percent

if TYPE_CHECKING:
    from effpath.detect.saved import DetectorMixin

USUAL = 0.5
"""The share of clean images from which on a sign is not worth telling."""
BEHIND = 2
"""Layers that are told behind each of several signs."""


@dataclass(frozen=True)
class Reason:
    """A layer that speaks for an attack, by the similarity in it that speaks most for one.

    Attributes:
        layer: its name.
        suspicion: what all similarities of the layer add to the score, beside their usual values; above 0.
        rank: 1, where less of the image's path than usual lies in its class's path; 2, where more of the path
            of the runner-up than usual lies in that class's.
        level: synapses, neurons or weights.
        similarity: the share of the image's path that lies in the class path.
        usual: its median over the images that the detector was fitted on.
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


@dataclass(frozen=True)
class SignReason:
    """A layer in which a sign that is a mean over layers shows more than it usually does.

    Attributes:
        layer: its name.
        suspicion: how far what is measured lies beyond its usual value, in the units of the sign; above 0. What it
            adds to the sign is that, divided by the number of layers.
        sign: what the sign shows, in words.
        value: what is measured in the layer.
        usual: its median over the images that the threshold was fixed on.
        label: the class that the image is taken for.
        said: all this, in words.
    """

    layer: str
    suspicion: float
    sign: str
    value: float
    usual: float
    label: int
    said: str

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.layer}: {self.said}"


def strongest_layers(
    detector: DetectorMixin, features: Features, *, count: int = 3
) -> list[list[Reason]] | list[list[SignReason]]:
    """Return for each image the layers, at most ``count``, that speak most for an attack; the strongest first.

    Where signs are combined: those behind the sign that adds most to the score, of the signs that are means over
    layers. An image that has no such layer gets an empty list.

    Raises:
        OptionError: the classifier's score is no sum over the similarities (forests, boosting), or not fitted.
    """
    scoring = detector.scoring
    if scoring is None:
        raise OptionError(
            "expected a detector that sums over layers (linear, clean, surprise) or signs "
            f"({', '.join(PROFILES)}), got one of kind {detector.name!r}"
        )
    if isinstance(scoring.score, CombinedScore):
        behind = layers_behind_signs(scoring, features, count)
        signs = signs_of_images(scoring, detector.reading, features) or []
        return [
            next((layers[sign] for sign, _ in told if sign in layers), [])
            for layers, told in zip(behind, signs, strict=True)
        ]
    return layers_of(scoring, detector.read(features), features, count)


def strongest_signs(detector: DetectorMixin, features: Features) -> list[str] | None:
    """Return for each image which sign adds most to its score; None for kinds without them."""
    found = signs_of_images(detector.scoring, detector.reading, features)
    return None if found is None else [signs[0][0] for signs in found]


def feature_suspicion(scoring: Scoring, read: FloatArray, features: Features) -> FloatArray:
    """Return what each similarity adds to the score, [N, features], from the columns that were read, [N, columns].

    Linear: ω · (J − J's median over the images fitted on), above 0 where it speaks for an attack. Clean: the log
    odds. Surprise: as linear, to the first of its four signs, in nats of the tail.
    """
    columns, score = scoring.filled(read), scoring.score
    if isinstance(score, CleanScore):
        return score.summands(columns)
    beside = columns - scoring.usual
    if isinstance(score, JointScore):
        return beside * score.coef
    assert isinstance(score, SurpriseScore)
    sets = len(score.similarity.coef)
    added = np.zeros(features.values.shape)
    added[:, :sets] = beside[:, :sets] * score.similarity.coef * (score.weights[0] / score.excess[0])
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


def layers_by_sign(scoring: Scoring, reading: Reading, features: Features) -> list[dict[str, list[str]]]:
    """Return for each image, by sign, the layers behind it in words; kinds without signs have them under ""."""
    if isinstance(scoring.score, CombinedScore):
        behind = layers_behind_signs(scoring, features, BEHIND)
        return [{sign: list(map(str, layers)) for sign, layers in each.items()} for each in behind]
    sign = SIGNS[0] if isinstance(scoring.score, SurpriseScore) else ""
    found = layers_of(scoring, reading.columns(features), features)
    return [{sign: list(map(str, layers))} for layers in found]


def layers_behind_signs(scoring: Scoring, features: Features, count: int) -> list[dict[str, list[SignReason]]]:
    """Return for each image, by what a sign shows, the layers in which it shows most; none of a sign without any.

    Only signs that are means over layers have some, and only where it is known what clean images usually show.
    """
    usual, values = scoring.by_layer, features.signs_by_layer
    if usual is None or values is None or not usual.places:
        return [{} for _ in range(len(features))]
    turns = np.array([sign.direction for sign, _ in usual.places])
    beyond = np.nan_to_num((values - usual.medians) * turns)  # [N, columns]
    found = []
    for row, label in enumerate(features.classes[:, 0].tolist()):
        layers: dict[str, list[SignReason]] = {}
        for place in np.argsort(-beyond[row], kind="stable").tolist():
            (sign, layer), suspicion = usual.places[place], float(beyond[row, place])
            if not suspicion > 0:
                break
            own = layers.setdefault(sign.says[0], [])
            if len(own) < count:
                value, median = float(values[row, place]), float(usual.medians[place])
                said = sign.in_words(value, median, str(label))
                own.append(SignReason(layer, suspicion, sign.says[0], value, median, label, said))
        found.append(layers)
    return found


def layers_of(scoring: Scoring, read: FloatArray, features: Features, count: int = 3) -> list[list[Reason]]:
    """Return for each image what `strongest_layers` does, of the columns that were read, [N, columns]."""
    added = feature_suspicion(scoring, read, features)
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
                similarity, usual = float(features.values[row, at]), float(scoring.usual[at])
                label = int(features.classes[row, rank - 1])
                reasons.append(Reason(layer, suspicion, rank, names[at][1], similarity, usual, label))
        found.append(reasons)
    return found
