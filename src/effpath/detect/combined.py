"""Combined surprise: signs of a profile of cost, each as surprising as it is rare among clean images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from sklearn.utils.validation import check_is_fitted, validate_data

from effpath.detect.clean import CleanOnly
from effpath.detect.combining import RULES
from effpath.detect.joint import two_classes
from effpath.detect.scoring import CombinedScore, FloatArray
from effpath.detect.surprise import learned_weights
from effpath.errors import OptionError

TAIL = 0.1  # share of the clean rows whose mean excess is the unit beyond the strongest of them
SHRINKAGE = 0.1  # of correlations, so that two signs that agree on few rows do not cancel


class CombinedSurprise(CleanOnly):
    """Suspicion = the surprises of any number of signs, −log of their conformal p-values, by a rule.

    It is fitted on clean rows alone. Attacked rows may `reweigh` the signs: they decide half of each weight, clean
    rows the other half, and each half has a floor, as attacks that were not met may show any sign. Every rule
    grows with every surprise and says what each sign adds, see `effpath.detect.combining`:

    - ``"fisher"``, judged best: the weighted sum, in units that make the tail of the sum over clean rows
      exponential (Brown 1975). Signs that rise and fall together on clean rows weigh less, see `decorrelated`.
    - ``"truncated"``: the sum of what lies beyond ``start``, so that usual signs do not dilute an unusual one.
    - ``"strongest"``: the sum of the ``count`` strongest.
    - ``"bonferroni"``, ``"simes"``, ``"harmonic"``: the strongest, with its price.

    Input X [n, signs]: high is suspicious, as `Features.suspicions` gives it; of clean images when fitting.

    Parameters
    ----------
    profile : what a `Detector` reads for it: a name of `effpath.detect.signs.profiles.PROFILES`.
    rule : of those above.
    count : of ``"strongest"``, at least 1.
    start : of ``"truncated"``, a share of clean images in (0, 1]: what more of them show counts nothing.
    floor : in (0, 1], the least that a sign counts, beside the one that counts most, by clean rows alone.
    learned_floor : in [0, 1], the same by attacked rows alone, where some `reweigh` the signs.
    contamination : the share, in (0, 0.5], of the clean rows that `predict` will flag.

    Attributes
    ----------
    clean_ : [clean rows, signs], each column sorted.
    excess_ : [signs], the unit in which values beyond the strongest clean row are measured.
    weights_ : [signs], how much they count, in [floor, 1]; once reweighed, in [(floor + learned_floor) / 2, 1].
    scale_ : factor of the suspicion; 1 but for ``"fisher"``.
    offset_ : decision_function = score_samples − offset_.
    n_features_in_, feature_names_in_ : scikit-learn's.
    """

    def __init__(
        self,
        profile: str = "standard",
        *,
        rule: str = "fisher",
        count: int = 3,
        start: float = 0.1,
        floor: float = 0.25,
        learned_floor: float = 0.1,
        contamination: float = 0.05,
    ) -> None:
        self.profile = profile
        self.rule = rule
        self.count = count
        self.start = start
        self.floor = floor
        self.learned_floor = learned_floor
        self.contamination = contamination

    @property
    def reads(self) -> str:
        """What it reads of features, see `effpath.detect.features.READINGS`."""
        return self.profile

    def fit(self, X: npt.ArrayLike, y: object = None) -> CombinedSurprise:
        """Learn how strong the signs of clean rows are; `y` is ignored, so give clean rows alone.

        Raises:
            OptionError: a parameter outside its range.
        """
        self._check()
        clean: FloatArray = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.clean_: FloatArray = np.sort(clean, axis=0)
        beyond = np.maximum(self.clean_ - np.quantile(self.clean_, 1 - TAIL, axis=0), 0)
        excess = beyond.sum(0) / np.maximum((beyond > 0).sum(0), 1)
        least = 1e-6 * np.maximum(np.abs(self.clean_[-1]), 1)
        self.excess_: FloatArray = np.where(excess > 0, excess, least)
        self.weights_: FloatArray = np.ones(self.n_features_in_)
        self.scale_ = 1.0
        self.weights_ = self._clean_weights(self.as_score().surprises(clean))
        self._settle(clean)
        return self

    def reweigh(self, X: npt.ArrayLike, y: npt.ArrayLike) -> CombinedSurprise:
        """Learn from attacked rows too how much each sign counts, and nothing else; fit it first.

        Args:
            X: [n, signs], clean rows, those that were fitted on, and attacked ones.
            y: [n], 1 for attacked ones.

        Raises:
            InputError: y does not have two classes.
        """
        score = self.as_score()
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        attacked = two_classes(np.asarray(y))[1]
        surprises = score.surprises(rows)
        both = self._clean_weights(surprises[~attacked]) + learned_weights(surprises, attacked, self.learned_floor)
        self.weights_ = both / both.max()
        self._settle(rows[~attacked])
        return self

    def as_score(self) -> CombinedScore:
        """Return what it computes, without the estimator."""
        check_is_fitted(self, "scale_")
        return CombinedScore.of(self)

    def _clean_weights(self, surprises: FloatArray) -> FloatArray:
        """Return what surprises of clean rows [n, signs] say alone of how much each sign counts, [signs]."""
        if self.rule != "fisher":
            return np.ones(self.n_features_in_)
        return decorrelated(surprises, self.floor)

    def _settle(self, clean: FloatArray) -> None:
        """Fix the scale and the offset on clean rows, after the weights."""
        self.scale_ = 1.0
        if self.rule == "fisher":  # a gamma distribution of the same mean and variance has this scale
            sums = self.as_score()(clean)
            self.scale_ = float(sums.mean() / sums.var()) if sums.var() > 1e-9 else 1.0
        self._fix_offset(clean)

    def _check(self) -> None:
        self._check_contamination()
        if self.rule not in RULES:
            raise OptionError(f"expected a rule of {', '.join(RULES)}, got {self.rule!r}")
        if not self.count >= 1:
            raise OptionError(f"expected count of at least 1, got {self.count!r}")
        for name in ("start", "floor"):
            if not 0 < getattr(self, name) <= 1:
                raise OptionError(f"expected {name} in (0, 1], got {getattr(self, name)!r}")
        if not 0 <= self.learned_floor <= 1:
            raise OptionError(f"expected learned_floor in [0, 1], got {self.learned_floor!r}")


def decorrelated(surprises: FloatArray, floor: float) -> FloatArray:
    """Return weights [signs] with which a sum of surprises of clean rows [n, signs] varies least for its mean.

    The greatest is 1, none is below `floor`. Signs that say the same share the weight of one; what does not vary
    counts as independent.
    """
    spread = surprises.std(0)
    standard = (surprises - surprises.mean(0)) / np.where(spread > 1e-12, spread, 1)
    correlation = (1 - SHRINKAGE) * (standard.T @ standard) / len(surprises)
    np.fill_diagonal(correlation, 1.0)
    root = np.linalg.cholesky(correlation + 1e-9 * np.eye(len(correlation)))
    # Least w'Cw − 2 Σw over w ≥ 0: the squares of root' w − root⁻¹ 1.
    weights = nnls(root.T, np.linalg.solve(root, np.ones(len(root))))[0]
    found: FloatArray = np.maximum(weights / weights.max(), floor)
    return found
