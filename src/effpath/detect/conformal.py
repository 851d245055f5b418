"""What a threshold of so many clean images promises, class by class, and whether images still are like them."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv

from effpath.detect.metrics import (
    Interval,
    allowed_above,
    check_enough,
    conformal_p_values,
    sharing,
    threshold_at_fpr,
)
from effpath.detect.scoring import FloatArray
from effpath.errors import InputError, OptionError

LEAST = 100
"""Calibration images of a class, at least, for a calibration of its own."""
MANY = 20
"""Images, at least, that are asked whether they look as those of a calibration did."""
CERTAIN = 100
"""Evidence of a drift that is as good as certain: without one it is reached one time in so many at most."""
MOST_IMAGES = 10_000_000
RANKS = 10_000  # that are looked at together
LARGEST = 700.0  # logarithm of the evidence that is told
JUMP = 0.01  # share of the stake that changes its bet with each image
BETS = np.array([-1.0, 0.0, 1.0])  # on small p-values, on none, on large ones


def true_rate(count: int, fpr: float, *, coverage: float = 0.9) -> Interval:
    """Return the rate at which new clean images exceed a threshold that so many clean images fixed.

    Its value is the mean over calibrations, at most ``fpr``, its ends hold the rate of one calibration with a
    probability of ``coverage``, half of the rest on either side. Of n + 1 ranks k lie above the threshold, so the
    rate of one calibration is spread as a beta distribution of k and n + 1 − k (Vovk 2012); where scores tie it is
    lower.

    Raises:
        OptionError: an fpr or a coverage outside (0, 1).
        InputError: too few images for the rate.

    Example:
        >>> "{0:.3f}, {1:.3f} to {2:.3f}".format(*true_rate(125, 0.05))
        '0.048, 0.021 to 0.082'
    """
    if not 0 < coverage < 1:
        raise OptionError(f"expected a coverage in (0, 1), got {coverage!r}")
    check_enough(count, fpr)
    above = allowed_above(count, fpr)
    low, high = (float(betaincinv(above, count + 1 - above, end)) for end in _ends(coverage))
    return Interval(above / (count + 1), low, high)


def images_for(fpr: float, most: float, *, confidence: float = 0.95) -> int:
    """Return how many clean images fix a threshold whose rate stays below ``most``, so confidently, or more.

    The nearer it is to ``fpr``, the more they are, and the more the smaller ``fpr`` is.

    Raises:
        OptionError: a rate or a confidence outside (0, 1), ``most`` not above ``fpr``, or more images than
            `MOST_IMAGES`.

    Example:
        >>> images_for(0.05, 0.075), images_for(0.01, 0.015)
        (240, 1211)
    """
    allowed_above(1, fpr)  # refuses a rate outside (0, 1)
    if not fpr < most < 1 or not 0 < confidence < 1:
        raise OptionError(
            f"expected a rate above the {fpr:g} that is asked for, and a confidence, both below 1; got {most!r} "
            f"and {confidence!r}"
        )
    for first in range(1, int(MOST_IMAGES * fpr), RANKS):  # the fewest images of a rank leave the least room
        ranks = np.arange(first, first + RANKS)
        counts = np.ceil(np.round(ranks / fpr, 9)).astype(np.int64) - 1
        kept = np.flatnonzero(betainc(ranks, counts + 1 - ranks, most) >= confidence)
        if len(kept):
            rank, enough = int(ranks[kept[0]]), int(counts[kept[0]])
            fewer = np.arange(max(0, enough - math.ceil(1 / fpr)), enough)  # of the rank before, which may do
            fewer = fewer[betainc(rank - 1, fewer + 2 - rank, most) >= confidence] if rank > 1 else fewer[:0]
            return int(fewer[0]) if len(fewer) else enough
    raise OptionError(f"more than {MOST_IMAGES} clean images would keep {fpr:g} below {most:g}; allow more")


def _ends(coverage: float) -> tuple[float, float]:
    return (1 - coverage) / 2, (1 + coverage) / 2


def class_thresholds(scores: FloatArray, classes: npt.NDArray[np.int64], fpr: float) -> dict[int, float]:
    """Return the threshold of each class that has enough calibration images: `LEAST`, and as the rate needs.

    Each class then keeps the rate by itself, on average; with fewer images one calibration would promise too
    little. Which class an image is in is what the network predicts, which is known of a new image too. The other
    classes are to share a threshold of their images (`sharing`), so that all together keep the rate as well; where
    these are too few for the rate, the class with the fewest of those that have enough joins them.

    Args:
        scores: [n], of clean images held out from everything else.
        classes: [n], that the network predicts for them.
        fpr: in (0, 1), see `threshold_at_fpr`.
    """
    labels, sizes = np.unique(classes, return_counts=True)
    own = {
        int(label): int(size)
        for label, size in zip(labels, sizes, strict=True)
        if size >= LEAST and allowed_above(int(size), fpr)
    }
    left = len(classes) - sum(own.values())
    if own and left and not allowed_above(left, fpr):
        del own[min(own, key=lambda label: own[label])]
    return {label: threshold_at_fpr(scores[classes == label], fpr) for label in own}


def class_p_values(
    scores: npt.ArrayLike,
    classes: npt.ArrayLike,
    calibration: npt.ArrayLike,
    calibration_classes: npt.ArrayLike,
    *,
    least: int = LEAST,
) -> FloatArray:
    """Return conformal p-values [N] within the class that the network predicts, so that each class keeps the rate.

    Classes with fewer than ``least`` calibration images share these, as one class would, so that they keep the
    rate together; where there are none, they are compared with all. Flag what is at most the rate you ask for.

    Args:
        scores: [N], grow with suspicion.
        classes: int [N], that the network predicts.
        calibration: [n], scores of clean images held out from everything else.
        calibration_classes: int [n], that the network predicts for them.
        least: calibration images of a class.

    Raises:
        InputError: a class is missing for a score, or there is no calibration score.
    """
    scores, calibration = (np.asarray(each, dtype=np.float64) for each in (scores, calibration))
    classes, known = np.asarray(classes), np.asarray(calibration_classes)
    if scores.shape != classes.shape or calibration.shape != known.shape or not len(calibration):
        raise InputError(
            f"expected a class for each score, and calibration scores, got {scores.shape} with {classes.shape} "
            f"and {calibration.shape} with {known.shape}"
        )
    labels, sizes = np.unique(known, return_counts=True)
    own = labels[sizes >= least].tolist()
    found = conformal_p_values(scores, np.sort(calibration[sharing(known, own)]))
    for label in own:
        rows = classes == label
        found[rows] = conformal_p_values(scores[rows], np.sort(calibration[known == label]))
    return found


class DriftMonitor:
    """Tells whether images still come as those of a calibration did, by a martingale that bets against it.

    Each image is given its conformal p-value among all that came before it, those of the calibration included,
    ties broken at random; as long as all come from one distribution, in any order, these are independent and
    uniform, whatever the detector. The simple jumper (Vovk et al., Retrain or not retrain, 2021) bets on small, on
    large, or on neither. Its `evidence` starts at 1 and, without a drift, ever reaches c with a probability of at
    most 1/c: 100 is as good as certain, whenever one looks. Attacks are a drift too.

    Example:
        >>> monitor = DriftMonitor(np.linspace(0, 1, 200))
        >>> float(monitor.update(np.linspace(0.9, 1.5, 60))[-1]) > 100
        True

    Attributes:
        evidence: now.
        strongest: the most that it has been.
    """

    def __init__(self, calibration: npt.ArrayLike, *, seed: int = 0) -> None:
        """Begin after the calibration.

        Args:
            calibration: [n], scores of clean images, such as `Detector.calibration`.
            seed: of the ties.
        """
        self._scores = np.sort(np.asarray(calibration, dtype=np.float64)).tolist()
        self._stakes = np.full(len(BETS), 1 / len(BETS))
        self._logarithm = 0.0  # of what the stakes were divided by, so that they do not overflow
        self._rng = np.random.default_rng(seed)
        self.evidence = self.strongest = 1.0

    def update(self, scores: npt.ArrayLike) -> FloatArray:
        """Take the scores [N] of further images in their order; return the evidence after each, [N].

        Raises:
            InputError: a score that is NaN.
        """
        found = []
        for score in np.asarray(scores, dtype=np.float64).tolist():
            if math.isnan(score):
                raise InputError("expected the score of an image, got NaN")
            self._bet(self._p_value(score))
            found.append(self.evidence)
        return np.array(found)

    def _p_value(self, score: float) -> float:
        """Return the share of the scores so far, itself included, that are higher, and some of those as high."""
        count = len(self._scores) + 1
        above = count - 1 - bisect_right(self._scores, score)
        alike = count - above - bisect_left(self._scores, score)
        insort(self._scores, score)
        return float(above + self._rng.random() * alike) / count

    def _bet(self, p_value: float) -> None:
        stakes = (1 - JUMP) * self._stakes + JUMP * self._stakes.mean()
        stakes = stakes * (1 + BETS * (p_value - 0.5))
        total = stakes.sum()
        self._logarithm += math.log(total)
        self._stakes = stakes / total
        self.evidence = math.exp(min(self._logarithm, LARGEST))
        self.strongest = max(self.strongest, self.evidence)


def drift_evidence(scores: npt.ArrayLike, calibration: npt.ArrayLike, *, seed: int = 0) -> float | None:
    """Return the strongest evidence that images do not look as those of a calibration did, see `DriftMonitor`.

    It reaches c without a difference with a probability of at most 1/c. Images are taken in an order that the seed
    draws: folders and data sets list them class by class, which the martingale would take for a drift.

    Args:
        scores: [N], of images; infinite ones, which no calibration has, are passed over.
        calibration: [n], scores of clean images.
        seed: of the order, and of ties.

    Returns:
        None for fewer than `MANY` images, which can hardly tell.
    """
    known = np.asarray(scores, dtype=np.float64)
    known = known[np.isfinite(known)]
    if len(known) < MANY:
        return None
    monitor = DriftMonitor(calibration, seed=seed)
    monitor.update(np.random.default_rng([seed, 1]).permutation(known))
    return monitor.strongest
