"""The detectors by name, and one score that grows with suspicion for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_outlier_detector
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from effpath.detect.clean import CleanSimilarity
from effpath.detect.features import Features
from effpath.detect.joint import FloatArray, JointSimilarity
from effpath.detect.surprise import JointSurprise
from effpath.errors import InputError, OptionError


@dataclass(frozen=True)
class Kind:
    """One line of `CLASSIFIERS`.

    Attributes:
        make: from a seed, a fresh estimator.
        read: what it looks at of features, float64 [N, columns].
        clean_only: whether it is fitted on clean images alone.
        wants_fit: whether the features must hold the fit of the paths with all classes.
    """

    make: Callable[[int], Any]
    read: Callable[[Features], FloatArray] = lambda features: features.values
    clean_only: bool = False
    wants_fit: bool = False


def _with_margins(features: Features) -> FloatArray:
    margins = features.margins()
    rank_1 = features.values[:, : margins.shape[1]]
    return np.concatenate([rank_1, margins, features.confidence()[:, None]], axis=1)


CLASSIFIERS: dict[str, Kind] = {
    # the paper's four (Sec. 4.2)
    "linear": Kind(lambda seed: JointSimilarity()),
    "forest": Kind(lambda seed: RandomForestClassifier(n_estimators=100, random_state=seed)),
    "adaboost": Kind(lambda seed: AdaBoostClassifier(n_estimators=50, random_state=seed)),
    "boosting": Kind(lambda seed: GradientBoostingClassifier(n_estimators=100, random_state=seed)),
    # the one that needs no attack
    "clean": Kind(lambda seed: CleanSimilarity(), clean_only=True),
    # similarity, fit with other classes, and how sure the network is
    "surprise": Kind(lambda seed: JointSurprise(), _with_margins, wants_fit=True),
    # "linear" for features whose direction is not known, as the gates of CDRP
    "gates": Kind(
        lambda seed: make_pipeline(
            StandardScaler(),
            LogisticRegression(
                solver="saga", l1_ratio=0.5, class_weight="balanced", max_iter=5000, tol=1e-3, random_state=seed
            ),
        )
    ),
}
PATH_CLASSIFIERS = ("linear", "forest", "adaboost", "boosting", "clean")
"""Those that need nothing but path similarities."""
OURS = (*PATH_CLASSIFIERS, "surprise")
"""All that look at paths."""


def make_classifier(kind: str, *, seed: int = 0) -> Pipeline:
    """A fresh: "linear", "forest", "adaboost", "boosting", "surprise", or "clean" (fit it on clean rows alone).

    "gates" is what "linear" is, for features that are no similarities: a logistic regression under an elastic net
    (l1 ratio 0.5) whose weights may have any sign.

    X [n, columns] is what `CLASSIFIERS` [kind].read gives of features, for most the similarities [n, 2L]; labels
    1 = adversarial. A NaN similarity (nothing of that layer is in the path) takes
    the median of the training rows, and 0 where the training rows have none: it speaks neither for nor
    against an attack. Raises OptionError for an unknown kind.

    >>> make_classifier("linear").fit([[0.9, 0.1], [0.2, 0.8]], [0, 1]).predict([[0.3, 0.6]])
    array([1])
    """
    if kind not in CLASSIFIERS:
        raise OptionError(f"kind must be one of {', '.join(CLASSIFIERS)}; got {kind!r}")
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer, CLASSIFIERS[kind].make(seed))


def suspicion(estimator: Any, X: npt.ArrayLike) -> FloatArray:
    """Scores [n] that grow with suspicion, for any fitted two-class classifier or outlier detector.

    Outlier detectors: −score_samples. Classifiers: decision_function, else the probability of the greater
    class. Raises InputError where the classifier was not trained on exactly two classes.
    """
    if is_outlier_detector(estimator):
        return np.asarray(-estimator.score_samples(X), dtype=np.float64)
    if len(estimator.classes_) != 2:
        raise InputError(
            "a detector tells two classes apart, clean and adversarial; "
            f"this one was trained on {list(estimator.classes_)}"
        )
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(X), dtype=np.float64)
    return np.asarray(estimator.predict_proba(X)[:, 1], dtype=np.float64)
