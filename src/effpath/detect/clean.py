"""Detectors that have seen clean images only, and the first: how unusual are path similarities?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from effpath.detect.scoring import CleanScore, FloatArray, Score, suspicion_directions
from effpath.errors import OptionError


class CleanOnly(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """An outlier detector whose scores are a formula's; high suspicion is low normality."""

    contamination: float
    offset_: float

    def as_score(self) -> Score:
        """Return what it computes, without the estimator."""
        raise NotImplementedError

    def _check_contamination(self) -> None:
        """Raise OptionError for a share of clean rows that cannot be flagged."""
        if not 0 < self.contamination <= 0.5:
            raise OptionError(f"expected contamination in (0, 0.5], got {self.contamination!r}")

    def _fix_offset(self, clean: FloatArray) -> None:
        """Let `predict` flag the most suspicious of the clean rows."""
        self.offset_ = float(np.percentile(-self.as_score()(clean), 100 * self.contamination))

    def score_samples(self, X: npt.ArrayLike) -> FloatArray:
        """Return the normality [n], the negative suspicion."""
        score = self.as_score()
        return -score(validate_data(self, X, dtype=np.float64, reset=False))

    def decision_function(self, X: npt.ArrayLike) -> FloatArray:
        """Return the normality [n] less the offset: negative = outlier."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return −1 for outliers and 1 for the rest, [n]."""
        return np.where(self.decision_function(X) < 0, -1, 1)


class CleanSimilarity(CleanOnly):
    """Suspicion = Σ over features of log((1 − p) / p), p the share of clean images at least as suspicious.

    A rank-1 similarity is suspicious where it is lower than on clean images, a rank-2 similarity where it is
    higher; no attack is needed to fit it. A usual value gives 0, so that each layer's share can be read off.

    Why log odds: docs/decisions.md.

    Input X [n, features]: rank-1 similarities, then rank-2 similarities, of clean images when fitting.

    Parameters
    ----------
    rank_1 : how many leading columns are rank-1; None = half of them, rounded up.
    contamination : the share, in (0, 0.5], of the clean rows that `predict` will flag.

    Attributes
    ----------
    reference_ : [clean rows, features] times the direction in which each is suspicious, each column sorted.
    offset_ : decision_function = score_samples − offset_.
    n_features_in_, feature_names_in_ : scikit-learn's.
    """

    def __init__(self, rank_1: int | None = None, *, contamination: float = 0.05) -> None:
        self.rank_1 = rank_1
        self.contamination = contamination

    def fit(self, X: npt.ArrayLike, y: object = None) -> CleanSimilarity:
        """Learn what clean rows look like; `y` is ignored, so give clean rows alone.

        Raises:
            OptionError: a parameter outside its range.
        """
        self._check_contamination()
        clean: FloatArray = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.reference_: FloatArray = np.sort(clean * suspicion_directions(clean.shape[1], self.rank_1), axis=0)
        self._fix_offset(clean)
        return self

    def as_score(self) -> CleanScore:
        """Return what it computes, without the estimator."""
        check_is_fitted(self, "reference_")
        return CleanScore.of(self)
