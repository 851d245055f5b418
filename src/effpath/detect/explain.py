"""Why an image is suspicious: what each layer's path similarity adds to the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from effpath.detect.features import Features
from effpath.detect.scoring import SIGNS, CleanScore, FloatArray, JointScore, Scoring, SurpriseScore
from effpath.errors import OptionError

SUMS = ("linear", "clean", "surprise")  # the kinds whose score can be told layer by layer


@dataclass(frozen=True)
class Reason:
    """A layer that speaks for an attack, by the similarity in it that speaks loudest.

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
            f"{self.layer}: {self.similarity:.1%} of the {self.level} of {whose} lie in the path of class "
            f"{self.label}, usually {self.usual:.1%}"
        )


class Scored(Protocol):
    """What can be explained: a fitted `Detector`, or a `Guard` read from a file."""

    @property
    def name(self) -> str:
        """The kind in a word."""

    @property
    def scoring(self) -> Scoring | None:
        """What it computes; None where that is none of ours. OptionError where it was not fitted."""

    def read(self, features: Features) -> FloatArray:
        """What it looks at of features, [N, columns]."""


def feature_suspicion(detector: Scored, features: Features) -> FloatArray:
    """Return what each similarity adds to the score, [N, features], beside its usual value.

    Linear: ω · (J − J's median over the images fitted on), with the sign of the score. Clean: the log odds.
    Surprise: as linear, to the first of its four signs, in nats of the tail.

    Raises:
        OptionError: the classifier's score is no sum over the similarities (forests, boosting), or not fitted.
    """
    return _added(detector, _summed(detector), features)


def _summed(detector: Scored) -> Scoring:
    scoring = detector.scoring
    if scoring is None:
        raise OptionError(
            f"expected a detector that sums over layers ({', '.join(SUMS)}), got one of kind {detector.name!r}"
        )
    return scoring


def _added(detector: Scored, scoring: Scoring, features: Features) -> FloatArray:
    columns, score = scoring.filled(detector.read(features)), scoring.score
    if isinstance(score, CleanScore):
        return score.summands(columns)
    beside = columns - scoring.usual
    if isinstance(score, JointScore):
        return beside * score.coef
    sets = len(score.similarity.coef)
    added = np.zeros(features.values.shape)
    added[:, :sets] = beside[:, :sets] * score.similarity.coef * (score.weights[0] / score.excess[0])
    return added


def strongest_signs(detector: Scored, features: Features) -> list[str] | None:
    """Return for each image which of the `SIGNS` adds most to its score; None for kinds without them."""
    scoring = detector.scoring
    if scoring is None or not isinstance(scoring.score, SurpriseScore):
        return None
    surprises = scoring.score.surprises(scoring.filled(detector.read(features)))
    return [SIGNS[place] for place in (surprises * scoring.score.weights).argmax(1)]


def explain(detector: Scored, features: Features, *, count: int = 3) -> list[list[Reason]]:
    """Return for each image the layers, at most ``count``, that speak most for an attack; the loudest first.

    An image that has no such layer gets an empty list. Raises OptionError as `feature_suspicion` does.
    """
    scoring = _summed(detector)
    added, usual = _added(detector, scoring, features), scoring.usual
    names = [name.split(":", 2) for name in features.names]
    columns: dict[str, list[int]] = {}
    for column, (_, _, layer) in enumerate(names):
        columns.setdefault(layer, []).append(column)
    layers = list(columns.items())
    totals = np.stack([added[:, own].sum(axis=1) for _, own in layers], axis=1)  # [N, layers]
    found = []
    for row, sums in enumerate(totals):
        reasons: list[Reason] = []
        for place in np.argsort(-sums, kind="stable"):
            layer, own = layers[place]
            own = [column for column in own if not np.isnan(features.values[row, column])]
            if not sums[place] > 0 or len(reasons) == count:
                break
            if not own:
                continue
            at = max(own, key=added[row].__getitem__)
            rank, level = int(names[at][0].removeprefix("rank")), names[at][1]
            reasons.append(
                Reason(
                    layer,
                    float(sums[place]),
                    rank,
                    level,
                    float(features.values[row, at]),
                    float(usual[at]),
                    int(features.classes[row, rank - 1]),
                )
            )
        found.append(reasons)
    return found
