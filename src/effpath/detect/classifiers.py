"""The detectors by name, what each looks at, and one score that grows with suspicion for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_classifier, is_outlier_detector
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from effpath.detect.clean import CleanSimilarity
from effpath.detect.features import Features
from effpath.detect.joint import JointSimilarity
from effpath.detect.reading import READINGS, Reading
from effpath.detect.scoring import FloatArray
from effpath.detect.surprise import JointSurprise
from effpath.errors import InputError, OptionError

DEFAULT_KIND = "surprise"
"""What a detector is where no kind is asked for: the best that there is, see docs/detection.md."""


def reading_of(estimator: Any) -> Reading:
    """Return what an estimator looks at, which the last step of a pipeline and what a search wraps say.

    Raises OptionError where its ``reads`` is none of `READINGS`.
    """
    if isinstance(estimator, Pipeline):
        return reading_of(estimator[-1])
    if not hasattr(estimator, "reads") and hasattr(estimator, "estimator"):
        return reading_of(estimator.estimator)
    reads = getattr(estimator, "reads", "similarities")
    if reads not in READINGS:
        raise OptionError(f"expected {_type(estimator)}.reads to be one of {', '.join(READINGS)}, got {reads!r}")
    return READINGS[reads]


@dataclass(frozen=True)
class Kind:
    """One line of `CLASSIFIERS`: a name for an estimator, which says itself what it reads and learns from.

    Attributes:
        make: from a seed, a fresh estimator.
    """

    make: Callable[[int], Any]

    @cached_property
    def _reading(self) -> Reading:
        return reading_of(self.make(0))

    def read(self, features: Features) -> FloatArray:
        """Return what it looks at of features, float64 [N, columns]."""
        return self._reading.columns(features)

    @property
    def wants_likelihood(self) -> bool:
        """Whether the features must hold the likelihood of the paths under all classes."""
        return self._reading.wants_likelihood

    @cached_property
    def clean_only(self) -> bool:
        """Whether it is fitted on clean images alone."""
        return bool(is_outlier_detector(self.make(0)))


CLASSIFIERS: dict[str, Kind] = {
    # the paper's four (Sec. 4.2)
    "linear": Kind(lambda seed: JointSimilarity()),
    "forest": Kind(lambda seed: RandomForestClassifier(n_estimators=100, random_state=seed)),
    "adaboost": Kind(lambda seed: AdaBoostClassifier(n_estimators=50, random_state=seed)),
    "boosting": Kind(lambda seed: GradientBoostingClassifier(n_estimators=100, random_state=seed)),
    # the one that needs no attack
    "clean": Kind(lambda seed: CleanSimilarity()),
    # similarity, fit with other classes, and how sure the network is
    "surprise": Kind(lambda seed: JointSurprise()),
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


def make_classifier(kind: str | Any, *, seed: int = 0) -> Pipeline:
    """A fresh: "linear", "forest", "adaboost", "boosting", "surprise", or "clean" (fit it on clean rows alone).

    "gates" is what "linear" is, for features that are no similarities: a logistic regression under an elastic net
    (l1 ratio 0.5) whose weights may have any sign. A scikit-learn classifier or outlier detector instead of a name
    is copied, unfitted; the seed is for names.

    X [n, columns] is what `reading_of` the estimator gives of features, for most the similarities [n, 2L]; labels
    1 = adversarial. A NaN similarity (nothing of that layer is in the path) takes
    the median of the training rows, and 0 where the training rows have none: it speaks neither for nor
    against an attack; a pipeline that begins with a `SimpleImputer` is left to it. Raises OptionError for an
    unknown kind, or for what is no classifier or outlier detector.

    >>> make_classifier("linear").fit([[0.9, 0.1], [0.2, 0.8]], [0, 1]).predict([[0.3, 0.6]])
    array([1])
    """
    estimator = CLASSIFIERS[kind].make(seed) if _is_name(kind) else _copied(kind)
    if isinstance(estimator, Pipeline) and isinstance(estimator[0], SimpleImputer):
        return estimator
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), estimator)


def _is_name(kind: str | Any) -> bool:
    if isinstance(kind, str) and kind not in CLASSIFIERS:
        raise OptionError(f"kind must be one of {', '.join(CLASSIFIERS)}; got {kind!r}")
    return isinstance(kind, str)


def _copied(estimator: Any) -> Any:
    wanted = f"expected a kind of {', '.join(CLASSIFIERS)}, or a scikit-learn classifier or outlier detector"
    if isinstance(estimator, type):
        raise OptionError(f"{wanted}, got the class {estimator.__name__}; make one: {estimator.__name__}()")
    if not hasattr(estimator, "__sklearn_tags__") or not (
        is_classifier(estimator) or is_outlier_detector(estimator)
    ):
        raise OptionError(f"{wanted}, got {_type(estimator)}")
    if is_outlier_detector(estimator) and not hasattr(estimator, "score_samples"):
        raise OptionError(
            f"{wanted} that scores new images with score_samples, which {_type(estimator)} does not have; "
            "LocalOutlierFactor has it with novelty=True"
        )
    reading_of(estimator)
    return clone(estimator)


def _type(estimator: Any) -> str:
    return type(estimator).__name__


def check_fitted(estimator: Any) -> None:
    """Raise OptionError where an estimator has not learned anything yet."""
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise OptionError("expected a fitted detector, got one that is not fitted: call fit first") from error


def suspicion(estimator: Any, X: npt.ArrayLike) -> FloatArray:
    """Scores [n] that grow with suspicion, for any fitted two-class classifier or outlier detector.

    Outlier detectors: −score_samples. Classifiers: decision_function, else the probability of the greater
    class. Raises InputError where the classifier was not trained on exactly two classes, OptionError where it is
    not fitted or gives no scores.
    """
    check_fitted(estimator)
    if is_outlier_detector(estimator):
        return np.asarray(-estimator.score_samples(X), dtype=np.float64)
    if len(estimator.classes_) != 2:
        raise InputError(
            "a detector tells two classes apart, clean and adversarial; "
            f"this one was trained on {list(estimator.classes_)}"
        )
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(X), dtype=np.float64)
    if not hasattr(estimator, "predict_proba"):
        last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        raise OptionError(
            "expected a classifier with decision_function or predict_proba, as verdicts need scores; "
            f"{_type(last)} has neither (a vote may have an option for it)"
        )
    return np.asarray(estimator.predict_proba(X)[:, 1], dtype=np.float64)
