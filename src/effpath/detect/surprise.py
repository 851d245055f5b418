"""Joint surprise: how surprising four signs of an attack are together, among clean images."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from effpath.detect.joint import JointSimilarity, two_classes
from effpath.detect.scoring import SIGNS, FloatArray, SurpriseScore, signs_of
from effpath.detect.weights import learned_weights
from effpath.errors import InputError, OptionError

__all__ = ["SIGNS", "JointSurprise"]


class JointSurprise(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Suspicion = Σ over four signs of −log p, p the share of clean images that show the sign as strongly.

    1. *outside its class path*: a weighted sum, weights ≥ 0, of the layers' rank-1 similarities, low.
    2. *fits another class better*: the same of the layers' margins, each how much better the rank-1 path fits the
       predicted class than the best other class (`effpath.class_paths.likelihood`).
    3. *unsure*: the log odds of the predicted class, low.
    4. *too sure*: the log odds, high; attacks that go on after the class has changed end where no clean image is.

    A sum of surprises, not one linear model of all signs: attacks that stop just over the border are so well told
    by the third sign that a model trained on them hears nothing else, and then misses what the network is sure of.
    Rank-2 paths have no part: the runner-up is the true class only where an attack stops at the border, and of
    stronger attacks and of noise the rank-2 path lies outside too, which joint similarity takes for innocence.

    p is the share of the clean training rows; beyond the `tail` strongest of them it falls exponentially, with
    the mean of their excesses.

    Input X [n, 2 · sets + 1 + further]: rank-1 similarities, margins, log odds, further signs; no NaN. Labels
    y [n]: 1 = adversarial.

    Parameters
    ----------
    tail : share of the clean training rows, in (0, 1), that the exponential tail is fitted on.
    further : how many signs from elsewhere the last columns are, each high where it is suspicious, such as by how
        much the answer changes when the image is made smaller; they are summed with the four.
    floor : in [0, 1], the least that a sign counts beside the one that counts most. 1: all count the same. Below,
        what they count is learned from attacked rows (`effpath.detect.weights`): worth it with many further signs,
        0.1 say, as those that say the same, or little, drown the others; not with the four alone.

    Attributes
    ----------
    similarity_, margin_ : the fitted `JointSimilarity` of the first two signs.
    clean_ : [clean rows, 4 + further], each column sorted: the signs of the clean training rows.
    edge_, excess_ : [4 + further], where the tails begin, and their mean excess.
    weights_ : [4 + further], in [floor, 1], how much the signs count.
    usual_ : the suspicion that 5 % of the clean training rows exceed, where `predict` divides.
    classes_, n_features_in_ : scikit-learn's.
    """

    reads: ClassVar[str] = "margins"  # of features, see `effpath.detect.features.READINGS`

    def __init__(self, *, tail: float = 0.3, further: int = 0, floor: float = 1.0) -> None:
        self.tail = tail
        self.further = further
        self.floor = floor

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> JointSurprise:
        """Learn the weights of the first two signs, how strong the signs of clean rows are, and what they count.

        Raises OptionError for a tail outside (0, 1), a floor outside [0, 1] or a negative number of further signs,
        InputError where the columns are not 2 · sets + 1 + further, or y has not just two classes.
        """
        if not 0 < self.tail < 1:
            raise OptionError(f"expected tail in (0, 1), got {self.tail!r}")
        if self.further < 0:
            raise OptionError(f"expected further of at least 0, got {self.further!r}")
        if not 0 <= self.floor <= 1:
            raise OptionError(f"expected floor in [0, 1], got {self.floor!r}")
        features, labels = validate_data(self, X, y, dtype=np.float64)
        self.classes_, adversarial = two_classes(labels)
        columns = self.n_features_in_ - self.further
        if columns % 2 != 1 or columns < 3:
            raise InputError(
                "expected rank-1 similarities and margins of as many sets, the log odds and the further signs: "
                f"2 · sets + 1 + {self.further} columns; got {self.n_features_in_} feature(s)"
            )
        sets = columns // 2
        self.similarity_ = JointSimilarity(sets).fit(features[:, :sets], labels)
        self.margin_ = JointSimilarity(sets).fit(features[:, sets : 2 * sets], labels)
        clean = features[~adversarial]
        similarity, margin = self.similarity_.as_score(), self.margin_.as_score()
        self.clean_: FloatArray = np.sort(signs_of(clean, similarity, margin), axis=0)
        self.edge_: FloatArray = np.quantile(self.clean_, 1 - self.tail, axis=0)
        beyond = np.maximum(self.clean_ - self.edge_, 0)
        rows = np.maximum((beyond > 0).sum(0), 1)
        self.excess_: FloatArray = np.maximum(beyond.sum(0) / rows, 1e-12)
        self.weights_: FloatArray = np.ones(4 + self.further)
        if self.floor < 1:
            self.weights_ = learned_weights(self.as_score().surprises(features), adversarial, self.floor)
        self.usual_ = float(np.quantile(self.as_score()(clean), 0.95))
        return self

    def as_score(self) -> SurpriseScore:
        """Return what it computes, without the estimator."""
        check_is_fitted(self, "weights_")
        return SurpriseScore.of(self)

    def signs(self, X: npt.ArrayLike) -> FloatArray:
        """How strong the signs are, [n, 4 + further], in units of their own."""
        return self.as_score().signs(self._checked(X))

    def surprises(self, X: npt.ArrayLike) -> FloatArray:
        """−log p of the signs, [n, 4 + further], ≥ 0, in nats; see `SIGNS`."""
        return self.as_score().surprises(self._checked(X))

    def decision_function(self, X: npt.ArrayLike) -> FloatArray:
        """Suspicion [n]: the sum of the surprises, each times its weight, in nats."""
        return self.as_score()(self._checked(X))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The class [n] of each row; adversarial where it is more surprising than 95 % of the clean rows."""
        suspicious = self.decision_function(X) > self.usual_
        found: npt.NDArray[np.int64] = self.classes_[suspicious.astype(int)]
        return found

    def _checked(self, X: npt.ArrayLike) -> FloatArray:
        check_is_fitted(self)
        features: FloatArray = validate_data(self, X, dtype=np.float64, reset=False)
        return features

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.poor_score = True  # columns that are not what it reads score at chance
        return tags
