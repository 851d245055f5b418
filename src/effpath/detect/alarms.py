"""Three detectors in one: an image is as suspicious as its strongest alarm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from effpath.detect.joint import FloatArray, JointSimilarity
from effpath.errors import InputError

ALARMS = ("outside its class path", "fits another class better", "unsure")


class StrongestAlarm(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Suspicion = the highest of three alarms, each in standard deviations above the mean of clean images.

    1. *outside its class path*: the joint similarity of rank-1 and rank-2 paths, as the paper's detector.
    2. *fits another class better*: a weighted sum, weights ≥ 0, of the layers' margins, each how much better the
       rank-1 path fits the predicted class than the best other class (`effpath.likelihood`).
    3. *unsure*: the log odds of the predicted class, low.

    The highest, not one linear model of all: attacks that stop just over the border are so well told by the third
    that a model trained on them hears nothing else, and then misses what the network is sure of.

    Input X [n, 3 · sets + 1]: rank-1 similarities, rank-2 similarities, margins, log odds; no NaN. Labels y [n]:
    0 clean, 1 adversarial.

    Attributes
    ----------
    joint_, margin_ : the fitted `JointSimilarity` of the first two alarms.
    center_, scale_ : [3], mean and standard deviation of the alarms of the clean training rows.
    classes_, n_features_in_ : scikit-learn's.
    """

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> StrongestAlarm:
        """Learn the weights of the first two alarms, and what is usual of all three.

        Raises InputError where the columns are not 3 · sets + 1.
        """
        features, labels = validate_data(self, X, y, dtype=np.float64)
        if self.n_features_in_ % 3 != 1 or self.n_features_in_ < 4:
            raise InputError(
                "wanted rank-1 similarities, rank-2 similarities and margins of as many sets, and the log odds: "
                f"3 · sets + 1 columns; got {self.n_features_in_}"
            )
        sets = self.n_features_in_ // 3
        self.joint_ = JointSimilarity(sets).fit(features[:, : 2 * sets], labels)
        self.margin_ = JointSimilarity(sets).fit(features[:, 2 * sets : -1], labels)
        self.classes_ = self.joint_.classes_
        clean = self._raw(features[labels == self.classes_[0]])
        self.center_: FloatArray = clean.mean(0)
        self.scale_: FloatArray = np.maximum(clean.std(0), 1e-12)
        return self

    def alarms(self, X: npt.ArrayLike) -> FloatArray:
        """The three alarms [n, 3], in standard deviations above the mean of clean images; see `ALARMS`."""
        check_is_fitted(self)
        raw = self._raw(validate_data(self, X, dtype=np.float64, reset=False))
        standardised: FloatArray = (raw - self.center_) / self.scale_
        return standardised

    def decision_function(self, X: npt.ArrayLike) -> FloatArray:
        """Suspicion [n]: the strongest alarm."""
        strongest: FloatArray = self.alarms(X).max(1)
        return strongest

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The class [n] of each row; adversarial above two standard deviations."""
        found: npt.NDArray[np.int64] = self.classes_[(self.decision_function(X) > 2).astype(int)]
        return found

    def _raw(self, features: FloatArray) -> FloatArray:
        sets = self.n_features_in_ // 3
        joint = self.joint_.decision_function(features[:, : 2 * sets])
        margin = self.margin_.decision_function(features[:, 2 * sets : -1])
        return np.stack([joint, margin, -features[:, -1]], axis=1)
