"""The detectors by name, and one score that grows with suspicion for all of them."""

from __future__ import annotations

from collections.abc import Callable
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
from effpath.detect.joint import FloatArray, JointSimilarity
from effpath.errors import InputError, OptionError

# The paper's four (Sec. 4.2), the one that needs no attack, and the linear one of features whose direction is not
# known, as the gates of CDRP; each is made from a seed.
CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "linear": lambda seed: JointSimilarity(),
    "forest": lambda seed: RandomForestClassifier(n_estimators=100, random_state=seed),
    "adaboost": lambda seed: AdaBoostClassifier(n_estimators=50, random_state=seed),
    "boosting": lambda seed: GradientBoostingClassifier(n_estimators=100, random_state=seed),
    "clean": lambda seed: CleanSimilarity(),
    "gates": lambda seed: make_pipeline(
        StandardScaler(),
        LogisticRegression(
            solver="saga", l1_ratio=0.5, class_weight="balanced", max_iter=5000, tol=1e-3, random_state=seed
        ),
    ),
}
PATH_CLASSIFIERS = ("linear", "forest", "adaboost", "boosting", "clean")
"""Those made for path similarities."""


def make_classifier(kind: str, *, seed: int = 0) -> Pipeline:
    """A fresh detector: "linear", "forest", "adaboost", "boosting", or "clean" (fit it on clean rows alone).

    "gates" is what "linear" is, for features that are no similarities: a logistic regression under an elastic net
    (l1 ratio 0.5) whose weights may have any sign.

    Features X [n, 2L], labels 1 = adversarial. A NaN similarity (nothing of that layer is in the path) takes
    the median of the training rows, and 0 where the training rows have none: it speaks neither for nor
    against an attack. Raises OptionError for an unknown kind.

    >>> make_classifier("linear").fit([[0.9, 0.1], [0.2, 0.8]], [0, 1]).predict([[0.3, 0.6]])
    array([1])
    """
    if kind not in CLASSIFIERS:
        raise OptionError(f"kind must be one of {', '.join(CLASSIFIERS)}; got {kind!r}")
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer, CLASSIFIERS[kind](seed))


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
