from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from effpath.detect import auc_interval, threshold_at_fpr, tpr_interval, weighted_auc
from effpath.detect.metrics import allowed_above, check_enough
from effpath.errors import InputError, OptionError


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6), min_size=1, max_size=40),
    parts=st.tuples(st.integers(1, 99), st.just(100)) | st.tuples(st.integers(1, 6), st.just(7)),
)
def test_the_threshold_is_the_score_of_the_conformal_rank(scores, parts):
    fpr = parts[0] / parts[1]
    rank = math.ceil((len(scores) + 1) * (1 - Fraction(*parts)))
    if rank > len(scores):
        with pytest.raises(InputError, match="give more images"):
            threshold_at_fpr(scores, fpr)
    else:
        assert threshold_at_fpr(scores, fpr) == sorted(scores)[rank - 1]


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("levels", [None, 30], ids=["continuous", "tied"])
def test_the_mean_rate_of_new_images_is_not_above_the_one_asked_for(count, fpr, levels):
    rng = np.random.default_rng(0)

    def draw(size):
        scores = rng.normal(size=size)
        return scores if levels is None else np.round(scores * levels) / levels

    if allowed_above(count, fpr) == 0:
        with pytest.raises(InputError, match=f"at least {round(1 / fpr) - 1} clean images"):
            threshold_at_fpr(draw(count), fpr)
        return
    rates = [(draw(2000) > threshold_at_fpr(draw(count), fpr)).mean() for _ in range(200)]
    assert np.mean(rates) <= fpr + 2 * np.std(rates) / np.sqrt(200)
    assert np.mean(rates) >= fpr - 1 / (count + 1) - (0 if levels is None else 1 / levels) - 0.01


@pytest.mark.parametrize(
    ("fpr", "enough"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.5, 1), (0.3, 3), (1e-9, 10**9 - 1)]
)
def test_too_few_images_are_told_how_many_are_enough(fpr, enough):
    with pytest.raises(InputError, match=f"at least {enough} clean images to fix a threshold .*got {enough - 1}"):
        check_enough(enough - 1, fpr)
    check_enough(enough, fpr)


def test_the_rate_that_is_offered_to_too_few_images_is_one_that_they_can_keep():
    with pytest.raises(InputError, match=r"an fpr of at least 0\.091"):
        threshold_at_fpr(range(10), 0.05)
    assert threshold_at_fpr(range(10), 0.091) == 9


def test_every_share_of_a_hundred_allows_as_many_above():
    assert [allowed_above(99, part / 100) for part in range(1, 100)] == list(range(1, 100))


def test_tied_clean_scores_are_flagged_together_or_not_at_all():
    assert threshold_at_fpr([0, 0, 1, 1, 1], 0.5) == 1
    assert threshold_at_fpr([0, 0, 1, 1, 1], 0.7) == 0


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rows=st.integers(2, 30), levels=st.sampled_from([1, 2, 5, 10**6]))
def test_the_weighted_auc_is_scikit_learns(data, rows, levels):
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[0, 1, rng.integers(0, 2, rows - 2)])
    scores = rng.integers(0, levels, rows) / levels
    weights = np.vstack([np.ones(rows), rng.integers(1, 4, rows), rng.random(rows) + 0.01])
    expected = [roc_auc_score(y, scores, sample_weight=each) for each in weights]
    np.testing.assert_allclose(weighted_auc(y, scores, weights), expected, atol=1e-12)


def test_the_auc_is_unknown_where_a_class_has_no_weight():
    assert np.isnan(weighted_auc([0, 1], [0.1, 0.2], [[0, 1], [1, 0]])).all()
    assert weighted_auc([0, 1], [0.1, 0.2], [[1, 1]]) == 1


def detections(images, attacks, *, common, seed):
    """Labels, scores and sources of `images` clean images, each with adversarial rows of like noise."""
    rng = np.random.default_rng(seed)
    groups = np.tile(np.arange(images), 1 + attacks)
    y = (np.arange(len(groups)) >= images).astype(int)
    own = np.sqrt(1 - common**2) * rng.standard_normal(len(groups))
    return y, y + common * rng.standard_normal(images)[groups] + own, groups


def test_the_interval_holds_the_value_and_repeats_with_its_seed():
    y, scores, groups = detections(100, 3, common=0.5, seed=0)
    interval = auc_interval(y, scores, groups, seed=1)
    assert interval.value == pytest.approx(roc_auc_score(y, scores), abs=1e-12)
    assert interval.low < interval.value < interval.high
    assert interval == auc_interval(y, scores, groups, seed=1)
    wider = auc_interval(y, scores, groups, seed=1, coverage=0.99)
    assert wider.low < interval.low < interval.high < wider.high


def test_many_rows_of_few_images_do_not_narrow_the_interval():
    y, scores, groups = detections(60, 1, common=0.0, seed=0)
    copies = np.tile(np.arange(len(y)), 20)
    once = auc_interval(y, scores, groups, seed=0)
    repeated = auc_interval(y[copies], scores[copies], groups[copies], seed=0)
    assert repeated == pytest.approx(once, abs=1e-12)
    as_rows = auc_interval(y[copies], scores[copies], np.full(len(copies), -1), seed=0)
    assert as_rows.high - as_rows.low < 0.5 * (once.high - once.low)


@pytest.mark.parametrize("common", [0.0, 0.9])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(common):
    truth = 0.7602  # Φ(1/√2): the AUC of two normal distributions one standard deviation apart
    trials = [
        auc_interval(*detections(80, 2, common=common, seed=seed), seed=seed, resamples=200) for seed in range(100)
    ]
    assert 0.87 <= np.mean([trial.low <= truth <= trial.high for trial in trials]) <= 1


def test_the_rate_has_an_interval_over_images_too():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 5)
    scores = rng.standard_normal(200)[groups]  # all five rows of an image agree
    interval = tpr_interval(scores, groups, 0.0, seed=0)
    assert interval.value == np.mean(scores > 0)
    binomial = np.sqrt(interval.value * (1 - interval.value) / 200)
    assert (interval.high - interval.low) / (2 * 1.96 * binomial) == pytest.approx(1, abs=0.15)


def test_a_thousand_resamples_of_two_thousand_rows_take_about_a_second():
    y, scores, groups = detections(400, 4, common=0.5, seed=0)
    start = time.perf_counter()
    auc_interval(y, scores, groups, seed=0, resamples=1000)
    assert time.perf_counter() - start < 5  # a busy machine is forgiven, a loop over roc_auc_score is not


@pytest.mark.parametrize("scores", [[], [np.nan, 1.0], [[1.0]]])
def test_scores_that_are_empty_or_not_numbers_are_refused(scores):
    with pytest.raises(InputError, match="scores"):
        threshold_at_fpr(scores, 0.1)
    with pytest.raises(InputError, match="scores"):
        tpr_interval(scores, [0, 1], 0.1, seed=0)


@pytest.mark.parametrize("fpr", [-0.1, 0, 1, 1.1, 5, np.nan, np.inf, "0.05", None, True])
def test_a_rate_that_does_not_lie_between_0_and_1_is_refused(fpr):
    with pytest.raises(OptionError, match=r"expected fpr, a share of clean images, in \(0, 1\)"):
        threshold_at_fpr([1.0], fpr)


@pytest.mark.parametrize(
    ("y", "groups", "options", "error"),
    [
        ([1, 1, 1], [0, 1, 2], {}, InputError),
        ([0, 1, 2], [0, 1, 2], {}, InputError),
        ([0, 1], [0, 1, 2], {}, InputError),
        ([0, 1, 1], [0, 1], {}, InputError),
        ([0, 1, 1], [5, 5, 5], {}, InputError),
        ([0, 1, 1], [0, 1, 2], {"coverage": 95}, OptionError),
        ([0, 1, 1], [0, 1, 2], {"resamples": -1}, OptionError),
    ],
)
def test_an_interval_that_means_nothing_is_refused(y, groups, options, error):
    with pytest.raises(error):
        auc_interval(y, [0.1, 0.2, 0.3], groups, seed=0, **options)
