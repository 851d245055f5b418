"""Whether a threshold keeps its promise: the share of clean images above it, over many random calibrations.

A detector is fitted once, on a part of the clean images. The others, the misclassified ones in their natural share
among them, are halved at random again and again: one half fixes the threshold, of the other the share above it is
counted. That share is a false alarm of the future, so its mean has to stay within the rate that was asked for, and
one calibration of n images may leave more or less: k of the n + 1 ranks are above the threshold, so the true rate
is spread as a beta distribution of k and n + 1 − k (Vovk 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import beta, betabinom

from detection.product import shipped
from detection.seen import MISTAKES, Seen, some_of
from drawing import Panel, Series
from effpath.detect import make_classifier, suspicion
from effpath.detect.classifiers import learn, reading_of, takes_attacks
from effpath.detect.evaluate import BASELINES, Group
from effpath.detect.metrics import allowed_above, threshold_at_fpr
from effpath.detect.splits import split_sources
from sources import Row

KINDS = ("linear", "clean", "surprise")  # and those that are shipped with signs
RATES = (0.01, 0.05, 0.1)
CALIBRATIONS = 200
FITTED_ON = 0.2  # of the clean images
SPREAD = (0.05, 0.95)
SPAN = (0, 0.18)  # of the picture, whose frames share their axis


def measure(seen: Seen, calibrations: int = CALIBRATIONS) -> Row:
    """Measure, of every kind, the share of clean images above the threshold over so many calibrations."""
    clean, seed = seen.groups["clean"], int(seen.about["seed"])
    parts = split_sources(clean.source, fractions={"fit": FITTED_ON, "held": 1 - FITTED_ON}, seed=seed)
    fitted, held = (some_of(clean, parts[name]) for name in ("fit", "held"))
    others = [held, *([seen.mistakes] if seen.mistakes is not None else [])]
    count = sum(len(group.source) for group in others)
    found: Row = {}
    for kind in (*KINDS, *shipped(clean.arrays), *BASELINES):
        score = scorer(kind, fitted, seen)
        scores = np.concatenate([score(group) for group in others])
        found[kind] = {str(rate): promised(scores, rate, calibrations, seed) for rate in RATES}
    return {
        "settings": {
            "calibrations": calibrations, "fitted_on": len(fitted.source), "calibrated_on": count // 2,
            "tested": count - count // 2, MISTAKES: count - len(held.source),
        },
        "kinds": found,
    }  # fmt: skip


def scorer(kind: str, fitted: Group, seen: Seen) -> Callable[[Group], np.ndarray]:
    """Return what scores groups, of a kind that is fitted on some clean images and what was made of them."""
    if kind in BASELINES:
        return lambda group: BASELINES[kind](group.features)
    entrant = shipped(fitted.arrays).get(kind)

    def read(group: Group) -> np.ndarray:
        return reading_of(kind).columns(group.features) if entrant is None else entrant.read(group)

    used = [fitted]
    if takes_attacks(kind):
        known = [group for group in seen.attacks if group.name not in seen.unseen]
        used += [some_of(group, np.flatnonzero(np.isin(group.source, fitted.source))) for group in known]
    rows = [read(group) for group in used]
    labels = np.repeat([0, *[1] * (len(rows) - 1)], [len(row) for row in rows])
    classifier = learn(make_classifier(kind, seed=0), np.concatenate(rows), labels)
    return lambda group: suspicion(classifier, read(group))


def promised(scores: np.ndarray, rate: float, calibrations: int, seed: int) -> Row:
    """Return the shares above the threshold, and what theory says of them.

    ``mean`` with the interval that so many calibrations leave it; ``expected``, exact where no scores tie, and
    never above the rate; ``spread`` of the shares, and as ``predicted`` of so many tested images; ``true_rate``,
    the spread of the rate behind them. ``above`` is the k of the ranks that may be. Nothing is flagged, and none
    of it said, where the images are too few for the rate.

    Args:
        scores: of held-out clean images, [N].
        rate: that is asked for.
        calibrations: how many.
        seed: of the halves.
    """
    count = len(scores) // 2
    above = allowed_above(count, rate)
    if not above:
        return {"above": 0}
    shares = np.array([
        share_above(*halves(scores, np.random.default_rng([seed, number])), rate) for number in range(calibrations)
    ])  # fmt: skip
    error = 1.96 * shares.std(ddof=1) / math.sqrt(calibrations)
    tested, shape = len(scores) - count, (above, count + 1 - above)
    found = {
        "mean": [shares.mean(), shares.mean() - error, shares.mean() + error],
        "expected": above / (count + 1),
        "spread": np.quantile(shares, SPREAD).tolist(),
        "predicted": (betabinom.ppf(SPREAD, tested, *shape) / tested).tolist(),
        "true_rate": beta.ppf(SPREAD, *shape).tolist(),
    }
    rounded = {name: np.round(value, 5).tolist() for name, value in found.items()}
    return {"above": above, **rounded, "kept": bool(found["mean"][1] <= rate)}


def halves(scores: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return two halves of the scores at random; the second has one more of an odd number."""
    drawn = rng.permutation(scores)
    return drawn[: len(scores) // 2], drawn[len(scores) // 2 :]


def share_above(calibration: np.ndarray, tested: np.ndarray, rate: float) -> float:
    """Return the share of the tested scores that a threshold of the others flags."""
    return float((tested > threshold_at_fpr(calibration, rate)).mean())


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean share and the spread over calibrations, beside what is predicted, for each rate."""
    found = []
    for rate in map(str, RATES):
        rows = {kind: rates[rate] for kind, rates in table["kinds"].items() if rates[rate]["above"]}
        if not rows:
            continue
        drawn = [
            Series("mean and spread", [[row["mean"][0], *row["spread"]] for row in rows.values()]),
            Series("predicted", [[row["expected"], *row["predicted"]] for row in rows.values()]),
        ]
        count = table["settings"]["calibrated_on"]
        title = f"{network}\n{float(rate):.0%} of n = {count}"
        found.append(Panel(title, drawn, list(rows), network, SPAN, float(rate), {"xlabel": "share above"}))
    return found
