"""Joint similarity: the paper's linear detector (Sec. 4.2) as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import ElasticNet
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from effpath.detect.scoring import FloatArray, JointScore, Score, suspicion_directions
from effpath.errors import InputError, OptionError


def two_classes(y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the two classes, ascending, and [n] where a row is of the greater one, adversarial.

    Raises:
        InputError: there are fewer or more classes.
    """
    check_classification_targets(y)
    classes = np.unique(y)
    if len(classes) > 2:
        raise InputError(
            "Only binary classification is supported. The type of the target is "
            f"{type_of_target(y, input_name='y')}: {len(classes)} classes; "
            "label clean rows 0 and adversarial rows 1"
        )
    if len(classes) < 2:
        raise InputError(f"expected two classes, clean and adversarial, got one class, {classes[0]!r}")
    return classes, y == classes[-1]


class TwoClasses(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of two classes, the greater one adversarial, whose scores are a formula's."""

    classes_: npt.NDArray[Any]

    @property
    def border(self) -> float:
        """The suspicion above which `predict` says adversarial."""
        return 0.0

    def as_score(self) -> Score:
        """Return what it computes, without the estimator."""
        raise NotImplementedError

    def decision_function(self, X: npt.ArrayLike) -> FloatArray:
        """Return the suspicion [n] of X [n, columns]."""
        score = self.as_score()
        return score(validate_data(self, X, dtype=np.float64, reset=False))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the class [n] of each row."""
        suspicious = self.decision_function(X) > self.border
        labels: npt.NDArray[Any] = self.classes_[suspicious.astype(int)]
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        # Directions are fixed beforehand: columns that say the reverse, or are not what it reads, score at chance.
        tags.classifier_tags.poor_score = True
        return tags


class JointSimilarity(TwoClasses):
    """J̃ = Σ ω^l J^l − Σ ω'^l J'^l with all ω, ω' ≥ 0; low = adversarial (paper Sec. 4.2).

    Trained as the paper does, by elastic net: least squares on ±1 over features divided by their
    standard deviation, so that the penalty treats all layers alike.

    Input X [n, features]: rank-1 similarities, then rank-2 similarities; no NaN (see `make_classifier`).
    Labels y [n]: two classes, the greater one adversarial (0 = clean, 1 = adversarial).

    Parameters
    ----------
    rank_1 : how many leading columns are rank-1; None = half of them, rounded up.
    alpha : strength of the penalty, > 0. A layer whose correlation with the label is below
        alpha * l1_ratio gets no weight, so that the default silences only layers below 0.015.
    l1_ratio : the fraction of the L1 penalty, 0 … 1; the paper's 0.5.
    class_weight : "balanced" (both classes weigh the same), None, or {label: weight}.

    Attributes
    ----------
    omega_, omega_rank2_ : ω [rank-1 columns] and ω' [the other columns], ≥ 0, in the units of X.
    coef_ : [features], (−ω, ω'): suspicion, intercept − J̃, is X @ coef_ + intercept_; above 0 = adversarial.
    intercept_ : float.
    classes_, n_features_in_, feature_names_in_ : scikit-learn's.
    """

    def __init__(
        self,
        rank_1: int | None = None,
        *,
        alpha: float = 0.03,
        l1_ratio: float = 0.5,
        class_weight: str | dict[Any, float] | None = "balanced",
    ) -> None:
        self.rank_1 = rank_1
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> JointSimilarity:
        """Learn ω and ω'; `sample_weight` [n] counts a row that many times.

        Raises:
            OptionError: a parameter outside its range.
            InputError: y does not have two classes, or one of them weighs nothing.
        """
        if not self.alpha > 0 or not 0 <= self.l1_ratio <= 1:
            raise OptionError(
                "expected alpha above 0 and l1_ratio in [0, 1], "
                f"got alpha={self.alpha!r}, l1_ratio={self.l1_ratio!r}"
            )
        features, labels = validate_data(self, X, y, dtype=np.float64)
        directions = suspicion_directions(self.n_features_in_, self.rank_1)
        self.classes_, adversarial = two_classes(labels)
        weights = self._weigh(features, adversarial, sample_weight)

        with np.errstate(invalid="ignore"):  # the weighted variance of a constant column may be just below 0
            scaler = StandardScaler().fit(features, sample_weight=weights)
        # Flipped by its direction, each feature grows with suspicion: ω, ω' ≥ 0 is then the library's own option.
        model = ElasticNet(alpha=self.alpha, l1_ratio=self.l1_ratio, positive=True, max_iter=10_000, tol=1e-6).fit(
            scaler.transform(features) * directions, np.where(adversarial, 1.0, -1.0), sample_weight=weights
        )

        magnitude = model.coef_ / scaler.scale_
        self.coef_: FloatArray = directions * magnitude
        self.omega_: FloatArray = magnitude[directions < 0]
        self.omega_rank2_: FloatArray = magnitude[directions > 0]
        self.intercept_ = float(model.intercept_ - scaler.mean_ @ self.coef_)
        return self

    def as_score(self) -> JointScore:
        """Return what it computes, without the estimator."""
        check_is_fitted(self)
        return JointScore.of(self)

    def _weigh(
        self, features: FloatArray, adversarial: npt.NDArray[np.bool_], sample_weight: npt.ArrayLike | None
    ) -> FloatArray:
        """Return the weight [n] of each row: `sample_weight` times the weight of its class."""
        weights = np.ones(len(features))
        if sample_weight is not None:
            weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
            if weights.ndim != 1 or (weights < 0).any():
                raise InputError(
                    f"expected sample_weight of one number ≥ 0 per row, got shape {weights.shape}, "
                    f"lowest value {weights.min()}"
                )
            check_consistent_length(features, weights)
        mass = [float(weights[row].sum()) for row in (~adversarial, adversarial)]
        if min(mass) == 0:
            raise InputError(
                "expected no class of zero weight, got clean rows that weigh "
                f"{mass[0]:g} together and adversarial rows that weigh {mass[1]:g}"
            )
        if self.class_weight == "balanced":
            factors = [sum(mass) / (2 * each) for each in mass]
        elif self.class_weight is None or isinstance(self.class_weight, dict):
            factors = [(self.class_weight or {}).get(label, 1.0) for label in self.classes_]
        else:
            raise OptionError(
                f'expected class_weight "balanced", None or {{label: weight}}, got {self.class_weight!r}'
            )
        return weights * np.where(adversarial, factors[1], factors[0])
