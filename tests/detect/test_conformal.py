"""What a threshold of so many images promises: against simulation, crepes, and the martingale's own law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from effpath.detect.conformal import MANY, DriftMonitor, class_p_values, drift_evidence, images_for, true_rate
from effpath.detect.metrics import allowed_above, conformal_p_values, threshold_at_fpr
from effpath.errors import InputError, OptionError


@pytest.mark.parametrize(("count", "fpr"), [(19, 0.05), (125, 0.05), (500, 0.01), (40, 0.3)])
def test_the_true_rate_is_spread_as_in_a_simulation(count: int, fpr: float) -> None:
    rng = np.random.default_rng(count)
    rates = [1 - threshold_at_fpr(rng.random(count), fpr) for _ in range(4000)]  # of uniform scores
    found = true_rate(count, fpr)
    assert found.value == pytest.approx(np.mean(rates), abs=4 * np.std(rates) / math.sqrt(4000))
    assert found.value <= fpr
    assert np.mean(np.array(rates) < found.low) == pytest.approx(0.05, abs=0.015)
    assert np.mean(np.array(rates) > found.high) == pytest.approx(0.05, abs=0.015)
    wide = true_rate(count, fpr, coverage=0.99)
    assert wide.low < found.low < found.high < wide.high


def test_an_impossible_rate_or_coverage_is_refused() -> None:
    with pytest.raises(InputError, match="at least 99 clean images"):
        true_rate(98, 0.01)
    with pytest.raises(OptionError, match=r"coverage in \(0, 1\), got 1"):
        true_rate(100, 0.05, coverage=1)
    for rates in ((0.05, 0.05), (0.05, 1.0)):
        with pytest.raises(OptionError, match="expected a rate above"):
            images_for(*rates)
    with pytest.raises(OptionError, match="more than 10000000"):
        images_for(0.05, 0.0500001)
    with pytest.raises(OptionError, match="expected fpr"):
        images_for(0, 0.5)


@pytest.mark.parametrize(("fpr", "most"), [(0.05, 0.075), (0.05, 0.06), (0.01, 0.015), (0.1, 0.3), (0.29, 0.4)])
def test_so_many_images_or_more_keep_the_rate_and_one_fewer_does_not(fpr: float, most: float) -> None:
    found = images_for(fpr, most)

    def kept(count: int) -> bool:
        above = allowed_above(count, fpr)
        return above > 0 and beta.cdf(most, above, count + 1 - above) >= 0.95

    assert not kept(found - 1)
    assert all(kept(count) for count in range(found, found + math.ceil(5 / fpr)))
    assert images_for(fpr, most, confidence=0.99) > found


def test_p_values_of_a_class_are_those_among_its_own_images() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(0, 3, 400)
    known[known == 2] = np.where(np.arange((known == 2).sum()) < 60, 2, 1)  # sixty of class 2, too few
    calibration = rng.normal(known, 1.0)  # classes are unlike suspicious
    classes, scores = rng.integers(0, 4, 50), rng.normal(1, 1, 50)  # class 3 was never seen
    found = class_p_values(scores, classes, calibration, known)
    for row, (score, label) in enumerate(zip(scores, classes, strict=True)):
        own = calibration[known == min(label, 2)]  # sixty are those of all classes with few, or none
        assert found[row] == (1 + (own >= score).sum()) / (len(own) + 1)
    whole = class_p_values(scores, classes, calibration, known, least=1000)
    np.testing.assert_array_equal(whole, conformal_p_values(scores, np.sort(calibration)))
    with pytest.raises(InputError, match="expected a class for each score"):
        class_p_values(scores, classes[1:], calibration, known)
    with pytest.raises(InputError, match="calibration scores"):
        class_p_values(scores, classes, [], [])


def test_classes_that_are_unlike_suspicious_keep_the_rate_each() -> None:
    rng = np.random.default_rng(1)
    known, classes = rng.integers(0, 2, 2000), rng.integers(0, 2, 20_000)
    calibration, scores = rng.normal(2 * known, 1), rng.normal(2 * classes, 1)
    flagged = class_p_values(scores, classes, calibration, known) <= 0.05
    assert [flagged[classes == label].mean() for label in (0, 1)] == pytest.approx([0.05, 0.05], abs=0.015)
    plain = conformal_p_values(scores, np.sort(calibration)) <= 0.05
    assert plain[classes == 0].mean() < 0.01
    assert plain[classes == 1].mean() > 0.08


@pytest.mark.parametrize("ties", [False, True])
def test_p_values_are_those_of_crepes(ties: bool) -> None:
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(2)
    calibration, scores = rng.normal(0, 1, 300), rng.normal(0.5, 1, 80)
    if ties:
        calibration, scores = calibration.round(1), scores.round(1)
    classes, known = rng.integers(0, 2, 80), rng.integers(0, 2, 300)
    oracle = crepes.ConformalClassifier().fit(calibration)
    theirs = oracle.predict_p(scores[:, None], smoothing=False)[:, 0]
    np.testing.assert_allclose(conformal_p_values(scores, np.sort(calibration)), theirs, rtol=0, atol=1e-12)
    within = crepes.ConformalClassifier().fit(calibration, bins=known)
    theirs = within.predict_p(scores[:, None], bins=classes, smoothing=False)[:, 0]
    np.testing.assert_allclose(class_p_values(scores, classes, calibration, known), theirs, rtol=0, atol=1e-12)


def test_without_a_drift_the_evidence_seldom_reaches_much_and_any_detector_will_do() -> None:
    rng = np.random.default_rng(3)
    reached = []
    for number in range(200):
        drawn = rng.normal(size=500).round(number % 3)  # with many ties, with some, with few
        monitor = DriftMonitor(drawn[:100], seed=number)
        monitor.update(drawn[100:])
        reached.append(monitor.strongest)
    assert np.mean(np.array(reached) >= 10) <= 0.1
    assert np.mean(np.array(reached) >= 2) <= 0.5


def test_the_stakes_are_a_fair_game() -> None:
    """Over p-values that are uniform, the evidence neither grows nor falls, whatever came before."""
    monitor = DriftMonitor(np.arange(10.0))
    for p_value in (0.01, 0.9, 0.2, 0.03):
        before, stakes, logarithm = monitor.evidence, monitor._stakes.copy(), monitor._logarithm
        after = []
        for each in (np.arange(1000) + 0.5) / 1000:
            monitor._stakes, monitor._logarithm = stakes.copy(), logarithm
            monitor._bet(each)
            after.append(monitor.evidence)
        assert np.mean(after) == pytest.approx(before)
        monitor._stakes, monitor._logarithm = stakes, logarithm
        monitor._bet(p_value)


def test_the_evidence_is_that_of_the_simple_jumper_in_plain_numbers() -> None:
    calibration, scores = [1.0, 2.0, 3.0, 4.0], [5.0, 0.5, 6.0]  # all differ: a p-value lies in 1/n below its rank
    monitor = DriftMonitor(calibration, seed=5)
    drawn = np.random.default_rng(5)
    seen, capital = list(calibration), dict.fromkeys((-1, 0, 1), 1 / 3)
    for score, found in zip(scores, monitor.update(scores), strict=True):
        seen.append(score)
        p_value = (sum(each > score for each in seen) + drawn.random()) / len(seen)
        total = sum(capital.values())
        capital = {
            bet: (0.99 * own + 0.01 * total / 3) * (1 + bet * (p_value - 0.5)) for bet, own in capital.items()
        }
        assert found == pytest.approx(sum(capital.values()))
    assert monitor.strongest == pytest.approx(max(1.0, monitor.strongest))


@pytest.mark.parametrize("shift", [-2.0, 2.0])
def test_a_drift_to_either_side_is_told_soon(shift: float) -> None:
    rng = np.random.default_rng(4)
    monitor = DriftMonitor(rng.normal(size=300))
    before = monitor.update(rng.normal(size=100))
    after = monitor.update(rng.normal(shift, 1, size=100))
    assert before.max() < 10
    assert after.max() > 100
    assert monitor.evidence == after[-1]
    assert monitor.strongest >= after.max()


def test_evidence_beyond_all_numbers_is_still_a_number_and_nan_is_refused() -> None:
    monitor = DriftMonitor(np.zeros(50))
    assert np.isfinite(monitor.update(np.arange(1.0, 4000.0))).all()
    with pytest.raises(InputError, match="got NaN"):
        monitor.update([math.nan])
    assert math.isfinite(monitor.update([np.inf])[0])  # an image of a class without a class path


def test_images_that_are_listed_class_by_class_are_no_drift_and_others_are():
    rng = np.random.default_rng(3)
    found, in_their_order = [], []
    for seed in range(200):
        calibration, scores = np.split(rng.normal(rng.integers(0, 4, 500)), [300])
        listed = np.sort(scores)  # as classes would do it, and worse
        found.append(drift_evidence(listed, calibration, seed=seed))
        in_their_order.append(DriftMonitor(calibration).update(listed).max())
    assert np.mean(np.array(found) >= 20) <= 1 / 20
    assert np.mean(in_their_order) > 1000
    assert drift_evidence(scores + 1.5, calibration) > 1000
    assert drift_evidence(scores, calibration, seed=4) == drift_evidence(scores, calibration, seed=4)


def test_few_images_tell_nothing_and_those_without_a_score_are_passed_over():
    calibration, scores = np.arange(100.0), np.linspace(200, 300, MANY)
    assert drift_evidence(scores[1:], calibration) is None
    assert drift_evidence(scores, calibration) > 100
    assert drift_evidence([*scores[1:], np.inf, np.inf], calibration) is None
    assert drift_evidence([*scores, np.inf], calibration) == drift_evidence(scores, calibration)
