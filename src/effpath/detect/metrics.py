"""Thresholds fixed on clean images, and detection rates with intervals over source images."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from numbers import Real
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from effpath.detect.scoring import FloatArray
from effpath.detect.splits import source_groups
from effpath.errors import InputError, OptionError

# How many row weights of a bootstrap are held at once: 8 MB, near the caches.
CHUNK = 1 << 20


class Interval(NamedTuple):
    """An estimate and the ends of its interval, NaN where no resamples were drawn."""

    value: float
    low: float
    high: float


def threshold_at_fpr(clean_scores: npt.ArrayLike, fpr: float) -> float:
    """Return the threshold that new clean images exceed with a probability of at most `fpr`; above it is flagged.

    It is the clean score of rank ⌈(n + 1)(1 − fpr)⌉ from below (split conformal calibration). A new image like the
    n given ones takes each of the n + 1 ranks among them equally often, so that it lies above with a probability
    of at most `fpr`, on average over calibrations, and with less where scores tie. The empirical quantile, one
    rank lower, promises too much.

    Raises:
        OptionError: an fpr outside (0, 1).
        InputError: scores that are NaN, or too few: n ≥ 1/fpr − 1 are needed, 19 for 5 %, 99 for 1 %.
    """
    scores = np.sort(_scores(clean_scores))[::-1]
    check_enough(len(scores), fpr)
    return float(scores[allowed_above(len(scores), fpr) - 1])


def allowed_above(count: int, fpr: float) -> int:
    """Return ⌊(count + 1) fpr⌋: how many of so many clean scores and a new one may reach the threshold's rank.

    0 where `count` is too few to keep the rate.

    Raises:
        OptionError: an fpr outside (0, 1).
    """
    if isinstance(fpr, bool) or not isinstance(fpr, Real) or not 0 < fpr < 1:
        raise OptionError(f"expected fpr, a share of clean images, in (0, 1), such as 0.05 for 5 %, got {fpr!r}")
    above = int((count + 1) * fpr)
    return above + ((above + 1) / (count + 1) <= fpr)  # the product is one too few for 0.29 of 100


def check_enough(count: int, fpr: float) -> None:
    """Raise InputError where so many clean images are too few to fix a threshold at `fpr`."""
    if allowed_above(count, fpr):
        return
    enough = max(count, math.ceil(1 / fpr) - 2)
    while not allowed_above(enough, fpr):
        enough += 1
    raise InputError(
        f"expected at least {enough} clean images to fix a threshold at a false positive rate of {fpr:.3g}, got "
        f"{count}; give more images, or an fpr of at least {math.ceil(10_000 / (count + 1)) / 10_000:g}"
    )


def thresholds_of(
    classes: npt.NDArray[np.int64], threshold: float, class_thresholds: Mapping[int, float]
) -> FloatArray:
    """Return the threshold for each of the predicted classes [N], float64 [N]: its own, or else the shared one."""
    found = np.full(len(classes), threshold)
    for label, own in class_thresholds.items():
        found[classes == label] = own
    return found


def sharing(classes: npt.NDArray[np.int64], own: Collection[int]) -> npt.NDArray[np.bool_]:
    """Return which calibration images fix what other classes than some share: those of the others, or else all.

    Args:
        classes: [n], that the network predicts for these images.
        own: classes with enough images for a threshold of their own.
    """
    others = ~np.isin(classes, list(own))
    return others if others.any() else ~others


def conformal_p_values(scores: FloatArray, calibration: FloatArray) -> FloatArray:
    """Return (1 + how many calibration scores are at least as high) ÷ (n + 1), [N], for scores [N].

    A new clean image's is at most p with a probability of at most p. `threshold_at_fpr` flags exactly those with a
    p-value of at most fpr. ``calibration`` [n] ascends.
    """
    count = len(calibration)
    values: FloatArray = (1 + count - np.searchsorted(calibration, scores, side="left")) / (count + 1)
    return values


def tpr_interval(
    scores: npt.ArrayLike,
    groups: npt.ArrayLike,
    threshold: float,
    *,
    clusters: npt.ArrayLike | None = None,
    seed: int,
    resamples: int = 1000,
    coverage: float = 0.95,
) -> Interval:
    """Return the TPR, the share of scores [n] of adversarial rows above the threshold, with an interval.

    The threshold is held fixed. Where all rows or none are flagged the interval has no width. The rest, and the
    errors, are as of `auc_interval`.
    """
    flagged = (_scores(scores) > threshold).astype(np.float64)

    def rate(weights: FloatArray) -> FloatArray:
        rates: FloatArray = np.full(len(weights), np.nan)
        drawn = weights.sum(axis=1)
        np.divide(weights @ flagged, drawn, out=rates, where=drawn > 0)
        return rates

    return _interval(rate, len(flagged), groups, clusters, seed=seed, resamples=resamples, coverage=coverage)


def auc_interval(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    seed: int,
    resamples: int = 1000,
    coverage: float = 0.95,
) -> Interval:
    """Return the AUC with a percentile interval from a bootstrap over source images, not over rows.

    Rows of one image rise and fall together, so that a bootstrap over rows would misjudge the spread. A resample
    that misses one of the classes is left out.

    Args:
        y: [n], 1 for adversarial rows, 0 for clean ones.
        scores: [n], their suspicion.
        groups: [n], the source image of each row; −1 for a source of its own.
        clusters: [n], what rows share beside their image, such as the patch pasted into them; −1 for nothing. They
            are resampled too: a row counts as often as its cluster is drawn times its image is drawn.
        seed, resamples, coverage: of the bootstrap; 0 resamples give the AUC alone.

    Raises:
        InputError: scores that are empty or NaN; fewer than two groups; one class only.
        OptionError: a coverage outside (0, 1).
    """
    scores = _scores(scores)
    statistic = partial(weighted_auc, y, scores)
    return _interval(statistic, len(scores), groups, clusters, seed=seed, resamples=resamples, coverage=coverage)


def weighted_auc(y: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike) -> FloatArray:
    """Return the AUC [B] of y, scores [n] under each row of weights [B, n], by sorting once.

    It is the weighted share of (adversarial, clean) pairs in which the adversarial score is higher, ties one
    half; NaN where one of the classes weighs 0.

    Raises:
        InputError: scores that are empty or NaN; y does not hold both 0 and 1.
    """
    scores = _scores(scores)
    y = np.asarray(y)
    if y.shape != scores.shape or not np.isin(y, (0, 1)).all() or len(np.unique(y)) != 2:
        raise InputError(
            f"expected y of 0 (clean) and 1 (adversarial), both, one for each of the {len(scores)} scores, "
            f"got shape {y.shape}, values {np.unique(y)[:5]}"
        )
    order = np.argsort(scores, kind="stable")
    ranked = np.take(np.asarray(weights, dtype=np.float64), order, axis=1)  # [B, n]
    ascending = scores[order]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])  # [T], one per distinct score
    adversarial = np.add.reduceat(ranked * (y[order] == 1), starts, axis=1)  # [B, T]
    clean = np.add.reduceat(ranked * (y[order] == 0), starts, axis=1)  # [B, T]
    lower = np.cumsum(clean, axis=1) - clean / 2
    pairs = adversarial.sum(axis=1) * clean.sum(axis=1)
    auc: FloatArray = np.full(len(pairs), np.nan)
    np.divide((adversarial * lower).sum(axis=1), pairs, out=auc, where=pairs > 0)
    return auc


def _interval(
    statistic: Callable[[FloatArray], FloatArray],
    rows: int,
    sources: npt.ArrayLike,
    clusters: npt.ArrayLike | None,
    *,
    seed: int,
    resamples: int,
    coverage: float,
) -> Interval:
    """Return the statistic (row weights [B, n] → [B]) of all rows, and its percentiles over resampled groups."""
    groups = source_groups(sources)
    if clusters is not None and np.shape(clusters) != (rows,):
        raise InputError(f"expected a cluster for each of {rows} scores, got {np.shape(clusters)}")
    if len(groups) != rows:
        raise InputError(f"expected groups to name the source image of each of {rows} scores, got {len(groups)}")
    if not 0 < coverage < 1 or resamples < 0:
        raise OptionError(f"expected a coverage in (0, 1) and resamples ≥ 0, got {coverage!r} and {resamples!r}")
    count = int(groups.max()) + 1
    if count < 2:
        raise InputError("expected at least two source images for an interval over them, got one")
    value = float(statistic(np.ones((1, len(groups))))[0])
    if not resamples:
        return Interval(value, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng([seed, 1])  # of its own, so that images are drawn as without clusters
    step = max(1, CHUNK // len(groups))
    drawn = []
    for start in range(0, resamples, step):
        copies = rng.multinomial(count, np.full(count, 1 / count), size=min(step, resamples - start))  # [B, g]
        weights = np.take(copies, groups, axis=1).astype(np.float64)
        if clusters is not None:
            weights *= cluster_draws(clusters, len(weights), shared)
        drawn.append(statistic(weights))
    values = np.concatenate(drawn)
    values = values[~np.isnan(values)]
    if not len(values):
        raise InputError(f"none of {resamples} resamples holds both classes: give more source images")
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(value, float(low), float(high))


def cluster_draws(clusters: npt.ArrayLike, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each row's cluster is in so many resamples of clusters, [resamples, n].

    Rows of cluster −1 share nothing, and count once in every resample.

    Raises:
        InputError: clusters [n] that are no integers from −1.
    """
    named = np.asarray(clusters)
    if named.ndim != 1 or named.dtype.kind not in "iu" or (len(named) and named.min() < -1):
        raise InputError(f"expected clusters of integers ≥ -1, one for each row, got {named.dtype} {named.shape}")
    ids, places = np.unique(named, return_inverse=True)
    shared = ids != -1
    counts = np.ones((resamples, len(ids)))
    if count := int(shared.sum()):
        counts[:, shared] = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    found: FloatArray = counts[:, places]
    return found


def _scores(scores: npt.ArrayLike) -> FloatArray:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or not len(array) or np.isnan(array).any():
        raise InputError(
            f"expected scores as a vector of at least one number and no NaN, got shape {array.shape}, "
            f"{int(np.isnan(array).sum())} NaN"
        )
    return array
