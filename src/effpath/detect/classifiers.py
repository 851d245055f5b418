"""The kinds of detectors by name, what each reads, and one score for all that grows with suspicion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
from effpath.detect.combined import CombinedSurprise
from effpath.detect.features import READINGS, Reading
from effpath.detect.joint import JointSimilarity
from effpath.detect.scoring import FloatArray, Scoring
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.surprise import JointSurprise
from effpath.errors import InputError, OptionError


def _combined(profile: str, seed: int) -> CombinedSurprise:
    """Return combined surprise for a profile; it draws nothing."""
    return CombinedSurprise(profile)


DEFAULT_KIND = "standard"
"""The kind where none is given: the best that needs no other network, see docs/detection.md."""
PAIRED_KIND = "paired"
"""The kind where another network is given."""
CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    # the paper's four (Sec. 4.2)
    "linear": lambda seed: JointSimilarity(),
    "forest": lambda seed: RandomForestClassifier(n_estimators=100, random_state=seed),
    "adaboost": lambda seed: AdaBoostClassifier(n_estimators=50, random_state=seed),
    "boosting": lambda seed: GradientBoostingClassifier(n_estimators=100, random_state=seed),
    # the one that needs no attack
    "clean": lambda seed: CleanSimilarity(),
    # similarity, fit with other classes, and how sure the network is
    "surprise": lambda seed: JointSurprise(),
    # "linear" for features whose direction is not known, as the gates of CDRP
    "gates": lambda seed: make_pipeline(
        StandardScaler(),
        LogisticRegression(
            solver="saga", l1_ratio=0.5, class_weight="balanced", max_iter=5000, tol=1e-3, random_state=seed
        ),
    ),
    # the signs of a profile of cost, from clean images alone; attacks may reweigh them
    **{name: partial(_combined, name) for name in PROFILES},
}
"""By name, from a seed a fresh estimator, which says itself what it reads and what it learns from."""
PATH_CLASSIFIERS = ("linear", "forest", "adaboost", "boosting", "clean")
"""The kinds that need nothing but path similarities."""
OURS = (*PATH_CLASSIFIERS, "surprise")
"""All kinds that read paths."""
_EXPECTED = f"expected a kind of {', '.join(CLASSIFIERS)}, or a scikit-learn classifier or outlier detector"


def reading_of(kind: str | Any) -> Reading:
    """Return what a kind, or an estimator, reads; of a pipeline the last step says it, of a search what it wraps.

    Raises:
        OptionError: an unknown kind, or ``reads`` is none of `READINGS`.
    """
    estimator = _named(kind)
    if isinstance(estimator, Pipeline):
        return reading_of(estimator[-1])
    if not hasattr(estimator, "reads") and hasattr(estimator, "estimator"):
        return reading_of(estimator.estimator)
    reads = getattr(estimator, "reads", "similarities")
    if reads not in READINGS:
        own = f"{type(estimator).__name__}.reads"
        raise OptionError(f"expected {own} to be one of {', '.join(READINGS)}, got {reads!r}")
    return READINGS[reads]


def is_clean_only(kind: str | Any) -> bool:
    """Tell whether a kind, or an estimator, is fitted on clean rows alone: outlier detectors are."""
    return bool(is_outlier_detector(_named(kind)))


def reweighs(kind: str | Any) -> bool:
    """Tell whether a kind, or an estimator, is fitted on clean rows, and attacked ones may weigh what it sees."""
    estimator = _named(kind)
    return hasattr(estimator[-1] if isinstance(estimator, Pipeline) else estimator, "reweigh")


def takes_attacks(kind: str | Any) -> bool:
    """Tell whether attacked rows may be given: to learn from, or to weigh what clean ones are fitted on."""
    return not is_clean_only(kind) or reweighs(kind)


def learn(estimator: Any, X: FloatArray, y: npt.NDArray[np.int_]) -> Any:
    """Fit an estimator on clean and attacked rows as it asks for, and return it.

    A classifier is fitted on all rows, an outlier detector on the clean ones alone. Where it `reweighs`, attacked
    rows, if there are any, weigh what it sees.

    Args:
        estimator: unfitted.
        X: [n, columns], what it reads.
        y: [n], 1 for attacked rows, 0 for clean ones.
    """
    if not is_clean_only(estimator):
        return estimator.fit(X, y)
    clean = y == 0
    estimator.fit(X[clean], y[clean])
    if reweighs(estimator) and not clean.all():
        if isinstance(estimator, Pipeline):
            estimator[-1].reweigh(estimator[:-1].transform(X), y)
        else:
            estimator.reweigh(X, y)
    return estimator


def make_classifier(kind: str | Any, *, seed: int = 0) -> Pipeline:
    """Return an unfitted pipeline for a kind, or for a copy of a scikit-learn classifier or outlier detector.

    Kinds are "linear", "forest", "adaboost", "boosting", "surprise", "clean" (fit it on clean rows alone), "fast",
    "standard", "paired" and "thorough" (likewise, see `effpath.detect.combined`) and "gates": what "linear" is,
    for features that are no similarities, a logistic regression under an elastic net (l1 ratio 0.5) whose weights
    may be positive or negative. The seed is for kinds.

    X [n, columns] is what `reading_of` the estimator gives of features, for most the similarities [n, 2L]; labels
    1 = adversarial. A NaN similarity (the path has nothing of that layer) is replaced by the median of the
    training rows, or by 0 where these have none, so that it speaks neither for nor against an attack; a pipeline
    that begins with a `SimpleImputer` keeps its own.

    Raises:
        OptionError: an unknown kind, or what is neither classifier nor outlier detector.

    Example:
        >>> make_classifier("linear").fit([[0.9, 0.1], [0.2, 0.8]], [0, 1]).predict([[0.3, 0.6]])
        array([1])
    """
    estimator = _named(kind, seed) if isinstance(kind, str) else _copied(kind)
    if isinstance(estimator, Pipeline) and isinstance(estimator[0], SimpleImputer):
        return estimator
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), estimator)


def _named(kind: str | Any, seed: int = 0) -> Any:
    """Return a fresh estimator of a kind that is given by name, anything else as it is."""
    if isinstance(kind, str) and kind not in CLASSIFIERS:
        raise OptionError(f"{_EXPECTED}, got {kind!r}")
    return CLASSIFIERS[kind](seed) if isinstance(kind, str) else kind


def _copied(estimator: Any) -> Any:
    if isinstance(estimator, type):
        raise OptionError(f"{_EXPECTED}, got the class {estimator.__name__}; make one: {estimator.__name__}()")
    if not hasattr(estimator, "__sklearn_tags__") or not (
        is_classifier(estimator) or is_outlier_detector(estimator)
    ):
        raise OptionError(f"{_EXPECTED}, got {type(estimator).__name__}")
    if is_outlier_detector(estimator) and not hasattr(estimator, "score_samples"):
        raise OptionError(
            f"{_EXPECTED} that scores new images with score_samples, which {type(estimator).__name__} does not "
            "have; LocalOutlierFactor has it with novelty=True"
        )
    reading_of(estimator)
    return clone(estimator)


def check_fitted(estimator: Any) -> None:
    """Raise OptionError where an estimator has not learned anything yet."""
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise OptionError("expected a fitted detector, got one that is not fitted: call fit first") from error


def scoring_of(estimator: Pipeline) -> Scoring | None:
    """Return what a fitted pipeline computes, where it is one of ours behind an imputer; None for any other.

    Raises:
        OptionError: not fitted.
    """
    check_fitted(estimator)
    steps = [step for _, step in estimator.steps]
    if len(steps) != 2 or not isinstance(steps[0], SimpleImputer) or not hasattr(steps[1], "as_score"):
        return None
    return Scoring(steps[0].statistics_, steps[1].as_score())


def suspicion(estimator: Any, X: npt.ArrayLike) -> FloatArray:
    """Return scores [n] that grow with suspicion, for any fitted two-class classifier or outlier detector.

    Outlier detectors: −score_samples. Classifiers: decision_function, else the probability of the greater class.

    Raises:
        InputError: a classifier that was not trained on exactly two classes.
        OptionError: not fitted, or without scores.
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
            f"{type(last).__name__} has neither (a vote may have an option for it)"
        )
    return np.asarray(estimator.predict_proba(X)[:, 1], dtype=np.float64)
