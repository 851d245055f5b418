"""What a fitted detector computes, on plain arrays: the formulas of scores, without what learns them.

The estimators of this package score by these, and so does a detector that was read from a file, which needs no
library of learning for it. ``of`` takes a formula from a fitted estimator, or from an object with its attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from effpath.detect.combining import RULES
from effpath.errors import OptionError

if TYPE_CHECKING:
    from effpath.detect.band import UsualByLayer

FloatArray = NDArray[np.float64]
SIGNS = ("outside its class path", "fits another class too well", "unsure", "too sure")  # of joint surprise


def suspicion_directions(n_features: int, rank_1: int | None) -> FloatArray:
    """Return the direction, [n_features], in which each similarity is suspicious: −1 for rank 1, +1 for rank 2.

    Args:
        n_features: how many similarities there are.
        rank_1: the number of leading rank-1 columns; None for the first half, rounded up.

    Raises:
        OptionError: ``rank_1`` outside 0 … n_features.
    """
    count = (n_features + 1) // 2 if rank_1 is None else rank_1
    if not 0 <= count <= n_features:
        raise OptionError(
            f"expected rank_1, the number of leading rank-1 columns, in 0 … {n_features} "
            f"(the number of features), got {rank_1}"
        )
    return np.where(np.arange(n_features) < count, -1.0, 1.0)


@dataclass(frozen=True, eq=False)
class JointScore:
    """Joint similarity (Sec. 4.2), low = adversarial, turned round and shifted: intercept − J̃.

    Attributes:
        coef: [features], (−ω, ω').
        intercept: above 0 is adversarial.
    """

    coef: FloatArray
    intercept: float

    @classmethod
    def of(cls, fitted: Any) -> Self:
        """Return that of a `JointSimilarity`."""
        return cls(fitted.coef_, float(fitted.intercept_))

    def __call__(self, X: FloatArray) -> FloatArray:
        """Return the suspicion [n]."""
        return self.intercept + X @ self.coef


@dataclass(frozen=True, eq=False)
class CleanScore:
    """How unusual similarities are among clean ones: log odds, summed; see `CleanSimilarity`.

    Attributes:
        reference: [clean rows, features], times the directions, each column sorted.
        directions: [features], in which each is suspicious, see `suspicion_directions`.
    """

    reference: FloatArray
    directions: FloatArray

    @classmethod
    def of(cls, fitted: Any) -> Self:
        """Return that of a `CleanSimilarity`."""
        return cls(fitted.reference_, suspicion_directions(fitted.reference_.shape[1], fitted.rank_1))

    def summands(self, X: FloatArray) -> FloatArray:
        """Return what each feature adds, [n, features]."""
        turned, rows = X * self.directions, len(self.reference)
        # Ties count half on either side, so that a layer where all clean images agree gives them 0.
        less = (_ranks(turned, self.reference, "left") + _ranks(turned, self.reference, "right")) / 2
        odds: FloatArray = np.log((less + 0.5) / (rows - less + 0.5))
        return odds

    def __call__(self, X: FloatArray) -> FloatArray:
        """Return the suspicion [n]."""
        total: FloatArray = self.summands(X).sum(axis=1)
        return total


@dataclass(frozen=True, eq=False)
class SurpriseScore:
    """Joint surprise: the sum of −log p of four signs, and further ones, times their weights; see `JointSurprise`.

    Attributes:
        similarity, margin: of the first two signs.
        clean: [clean rows, signs], each column sorted.
        edge, excess, weights: [signs].
        tail: fraction of the clean rows beyond the edge.
    """

    similarity: JointScore
    margin: JointScore
    clean: FloatArray
    edge: FloatArray
    excess: FloatArray
    weights: FloatArray
    tail: float

    @classmethod
    def of(cls, fitted: Any) -> Self:
        """Return that of a `JointSurprise`."""
        sums = JointScore.of(fitted.similarity_), JointScore.of(fitted.margin_)
        return cls(*sums, fitted.clean_, fitted.edge_, fitted.excess_, fitted.weights_, float(fitted.tail))

    def signs(self, X: FloatArray) -> FloatArray:
        """Return how strong the signs are, [n, signs], in units of their own."""
        return signs_of(X, self.similarity, self.margin)

    def surprises(self, X: FloatArray) -> FloatArray:
        """Return −log p of the signs, [n, signs], ≥ 0, in nats."""
        signs, rows = self.signs(X), len(self.clean)
        usual = -np.log((rows - _ranks(signs, self.clean, "left") + 0.5) / (rows + 1))
        edge = -np.log(self.tail)
        tail = edge + (signs - self.edge) / self.excess
        return np.where(signs > self.edge, tail, np.clip(usual, 0, edge))

    def parts(self, X: FloatArray) -> FloatArray:
        """Return what each sign adds to the suspicion, [n, signs]."""
        return self.surprises(X) * self.weights

    def __call__(self, X: FloatArray) -> FloatArray:
        """Return the suspicion [n], in nats."""
        total: FloatArray = self.parts(X).sum(1)
        return total


def signs_of(X: FloatArray, similarity: JointScore, margin: JointScore) -> FloatArray:
    """Return `SIGNS` and further ones, [n, 4 + further], of X [n, 2 · sets + 1 + further], see `JointSurprise`."""
    sets = len(similarity.coef)
    outside, elsewhere = similarity(X[:, :sets]), margin(X[:, sets : 2 * sets])
    sure, further = X[:, 2 * sets], X[:, 2 * sets + 1 :]
    return np.column_stack([outside, elsewhere, -sure, sure, further])


def _ranks(values: FloatArray, clean: FloatArray, side: Literal["left", "right"]) -> NDArray[np.intp]:
    """Return how many clean rows, each column sorted, lie below values [n, columns]; "right" counts ties too."""
    pairs = zip(clean.T, values.T, strict=True)
    return np.stack([np.searchsorted(usual, column, side) for usual, column in pairs], axis=1)


@dataclass(frozen=True, eq=False)
class CombinedScore:
    """Surprises of any number of signs, combined by one of `RULES`; see `CombinedSurprise`.

    Attributes:
        clean: [clean rows, signs], each column sorted.
        excess, weights: [signs], units beyond the strongest clean row, and how much the signs count.
        scale: factor of the suspicion.
        rule: of `effpath.detect.combining.RULES`.
        count, start: of the rule.
    """

    clean: FloatArray
    excess: FloatArray
    weights: FloatArray
    scale: float
    rule: str
    count: int
    start: float

    @classmethod
    def of(cls, fitted: Any) -> Self:
        """Return that of a `CombinedSurprise`."""
        how = float(fitted.scale_), fitted.rule, int(fitted.count), float(-np.log(fitted.start))
        return cls(fitted.clean_, fitted.excess_, fitted.weights_, *how)

    def surprises(self, X: FloatArray) -> FloatArray:
        """Return −log p of the signs, [n, signs], ≥ 0, in nats; p is the conformal p-value among the clean rows.

        Beyond the strongest clean row it goes on falling, as 1 ÷ (1 + distance in units of the mean excess): what
        no clean row reaches is still ranked, and no sign drowns out the others.
        """
        rows = len(self.clean)
        as_strong = rows - _ranks(X, self.clean, "left")
        beyond = np.maximum(X - self.clean[-1], 0) / self.excess
        found: FloatArray = np.log((rows + 1) / (1 + as_strong)) + np.log1p(beyond)
        return found

    def parts(self, X: FloatArray) -> FloatArray:
        """Return what each sign adds to the suspicion, [n, signs]."""
        return RULES[self.rule](self.surprises(X), self.weights, self.count, self.start) * self.scale

    def __call__(self, X: FloatArray) -> FloatArray:
        """Return the suspicion [n], in nats."""
        total: FloatArray = self.parts(X).sum(1)
        return total


Score = JointScore | CleanScore | SurpriseScore | CombinedScore


@dataclass(frozen=True, eq=False)
class Scoring:
    """A score, and what stands in for what is missing before it.

    Attributes:
        usual: [columns], the medians of the rows that the detector was fitted on; they take the place of NaN.
        score: of the columns.
        by_layer: what clean images usually show in each layer, of signs that are means over layers; None where it
            is not known, and for scores of other columns.
    """

    usual: FloatArray
    score: Score
    by_layer: UsualByLayer | None = None

    def filled(self, columns: FloatArray) -> FloatArray:
        """Return columns [n, columns] without NaN."""
        return np.where(np.isnan(columns), self.usual, columns)

    def __call__(self, columns: FloatArray) -> FloatArray:
        """Return the suspicion [n] of what the detector reads of features."""
        return self.score(self.filled(columns))
