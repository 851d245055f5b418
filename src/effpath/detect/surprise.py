"""Joint surprise: how surprising four signs of an attack are together, among clean images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.utils.validation import check_is_fitted, validate_data

from effpath.detect.joint import JointSimilarity, TwoClasses, two_classes
from effpath.detect.scoring import FloatArray, SurpriseScore, signs_of
from effpath.errors import InputError, OptionError

CAP = 8.0  # nats: what is more surprising than one clean image of 3000 teaches no more
PENALTY = 1e-2  # on half the sum of squares


class JointSurprise(TwoClasses):
    """Suspicion = Σ over four signs of −log p, p the share of clean images that show the sign as strongly.

    1. *outside its class path*: a weighted sum, weights ≥ 0, of the layers' rank-1 similarities, low.
    2. *fits another class too well*: the same of the layers' margins, each how much better the rank-1 path fits
       the predicted class than the best other class (`effpath.class_paths.likelihood`).
    3. *unsure*: the log odds of the predicted class, low.
    4. *too sure*: the log odds, high; attacks that go on after the class has changed end where no clean image is.

    Why a sum, not one linear model of all signs, and why no rank-2 path: docs/decisions.md.

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
        what they count is learned from attacked rows (`learned_weights`): worth it with many further signs,
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

        Raises:
            OptionError: a tail outside (0, 1), a floor outside [0, 1], a negative number of further signs.
            InputError: the columns are not 2 · sets + 1 + further, or y does not have two classes.
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

    @property
    def border(self) -> float:
        return self.usual_

    def as_score(self) -> SurpriseScore:
        """Return what it computes, without the estimator."""
        check_is_fitted(self, "weights_")
        return SurpriseScore.of(self)


def learned_weights(surprises: FloatArray, adversarial: npt.NDArray[np.bool_], floor: float) -> FloatArray:
    """Return the weights [signs] of surprises [n, signs] in nats: the greatest is 1, the least `floor`.

    A logistic regression under an L2 penalty, both classes alike in weight, none of the slopes below 0 (which is
    no option of scikit-learn's); surprises beyond `CAP` count as `CAP`. Signs that do not help keep the `floor`,
    as attacks that were not trained on may show them. All weights are 1 where no sign helps.
    """
    capped = np.minimum(surprises, CAP)
    side = np.where(adversarial, 1.0, -1.0)
    mass = 0.5 / np.where(adversarial, adversarial.sum(), (~adversarial).sum())
    count = capped.shape[1]

    def loss(point: FloatArray) -> tuple[float, FloatArray]:
        slopes, offset = point[:count], point[count]
        right = side * (capped @ slopes + offset)
        pull = -side * mass * expit(-right)
        gradient = np.append(capped.T @ pull + PENALTY * slopes, pull.sum())
        return float(mass @ np.logaddexp(0, -right) + PENALTY / 2 * slopes @ slopes), gradient

    start = np.append(np.full(count, 0.1), -1.0)
    bounds = [(0, None)] * count + [(None, None)]
    slopes = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x[:count]
    if slopes.max() < 1e-6:
        return np.ones(count)
    weights: FloatArray = np.maximum(slopes / slopes.max(), floor)
    return weights
