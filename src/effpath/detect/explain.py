"""Why an image is suspicious: what each layer's path similarity adds to the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline

from effpath.detect.classifiers import check_fitted
from effpath.detect.detector import Detector
from effpath.detect.features import Features
from effpath.detect.surprise import SIGNS, JointSurprise
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


def feature_suspicion(detector: Detector, features: Features) -> NDArray[np.float64]:
    """Return what each similarity adds to the score, [N, features], beside its usual value.

    Linear: ω · (J − J's median over the images fitted on), with the sign of the score. Clean: the log odds.
    Surprise: as linear, to the first of its four signs, in nats of the tail.

    Raises:
        OptionError: the classifier's score is no sum over the similarities (forests, boosting), or not fitted.
    """
    check_fitted(detector.classifier)
    if _is_summed(detector):
        imputer, estimator = detector.classifier
        if hasattr(estimator, "feature_suspicion"):
            values = imputer.transform(features.values)
            return np.asarray(estimator.feature_suspicion(values), dtype=np.float64)
        if hasattr(estimator, "omega_"):
            values = imputer.transform(features.values)
            return np.asarray((values - imputer.statistics_) * estimator.coef_, dtype=np.float64)
        if isinstance(estimator, JointSurprise):
            values = imputer.transform(detector.read(features)) - imputer.statistics_
            sets = len(estimator.similarity_.coef_)
            added = np.zeros(features.values.shape)
            weight = estimator.weights_[0] / estimator.excess_[0]
            added[:, :sets] = values[:, :sets] * estimator.similarity_.coef_ * weight
            return added
    raise OptionError(
        f"expected a detector that sums over layers ({', '.join(SUMS)}), got one of kind {detector.name!r}"
    )


def _is_summed(detector: Detector) -> bool:
    """Whether nothing but an imputer stands before what scores."""
    found = detector.classifier
    return isinstance(found, Pipeline) and len(found) == 2 and isinstance(found[0], SimpleImputer)


def strongest_signs(detector: Detector, features: Features) -> list[str] | None:
    """Return for each image which of the `SIGNS` adds most to its score; None for kinds without them."""
    check_fitted(detector.classifier)
    if not _is_summed(detector) or not isinstance(detector.classifier[-1], JointSurprise):
        return None
    imputer, estimator = detector.classifier
    surprises = estimator.surprises(imputer.transform(detector.read(features)))
    return [SIGNS[place] for place in (surprises * estimator.weights_).argmax(1)]


def explain(detector: Detector, features: Features, *, count: int = 3) -> list[list[Reason]]:
    """Return for each image the layers, at most ``count``, that speak most for an attack; the loudest first.

    An image that has no such layer gets an empty list. Raises OptionError as `feature_suspicion` does.
    """
    added = feature_suspicion(detector, features)
    usual = detector.classifier[0].statistics_
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
