from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from effpath.detect import CleanSimilarity, suspicion
from effpath.errors import OptionError


@parametrize_with_checks([CleanSimilarity()])
def test_it_is_a_scikit_learn_outlier_detector(estimator, check):
    check(estimator)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    column=st.integers(0, 6),
    step=st.floats(0, 1),
    levels=st.sampled_from([2, 5, 1000]),
)
def test_less_of_rank_1_or_more_of_rank_2_never_lowers_the_suspicion(seed, column, step, levels):
    rng = np.random.default_rng(seed)
    clean, rows = rng.integers(0, levels, (2, 15, 7)) / levels  # few levels give many ties
    model = CleanSimilarity(rank_1=3).fit(clean)
    moved = rows.copy()
    moved[:, column] += step if column >= 3 else -step
    assert (suspicion(model, moved) >= suspicion(model, rows)).all()


def test_one_feature_gives_the_log_odds_of_its_rank_among_clean_images():
    model = CleanSimilarity(rank_1=1).fit([[0.1], [0.2], [0.3], [0.4]])
    # All 4, 2, one tied and 2 below it in rank, none are less suspicious.
    expected = np.log([4.5 / 0.5, 2.5 / 2.5, 2 / 3, 0.5 / 4.5])
    np.testing.assert_allclose(suspicion(model, [[0.0], [0.25], [0.3], [0.9]]), expected)


def test_the_layers_shares_add_up_to_the_suspicion():
    rng = np.random.default_rng(0)
    model = CleanSimilarity().fit(rng.random((30, 6)))
    rows = rng.random((5, 6))
    assert model.as_score().summands(rows).shape == (5, 6)
    np.testing.assert_allclose(model.as_score().summands(rows).sum(axis=1), suspicion(model, rows))
    np.testing.assert_array_equal(suspicion(model, rows), -model.score_samples(rows))


def test_a_layer_where_all_clean_images_agree_gives_them_nothing():
    rng = np.random.default_rng(1)
    clean = rng.random((40, 4))
    clean[:, 0] = 1.0
    model = CleanSimilarity().fit(clean)
    assert (model.as_score().summands(clean)[:, 0] == 0).all()
    assert (model.as_score().summands(clean - [0.01, 0, 0, 0])[:, 0] == np.log(40.5 / 0.5)).all()


def test_a_strictly_increasing_change_of_the_features_changes_nothing():
    rng = np.random.default_rng(2)
    clean, rows = rng.random((2, 50, 6))
    before = suspicion(CleanSimilarity().fit(clean), rows)
    np.testing.assert_array_equal(suspicion(CleanSimilarity().fit(clean**3), rows**3), before)


def test_it_ranks_attacks_that_it_has_never_seen():
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 500)
    shift = np.outer(y, np.linspace(0, 1, 8))
    image = rng.standard_normal((1000, 1))  # what raises or lowers both ranks together
    noise = rng.standard_normal((1000, 16))
    X = np.hstack([-shift, shift]) + image + noise
    model = CleanSimilarity().fit(X[:250])
    held_out, labels = X[250:], y[250:]
    without_signs = EmpiricalCovariance().fit(X[:250]).mahalanobis(held_out)
    auc = roc_auc_score(labels, suspicion(model, held_out))
    assert auc > max(0.9, roc_auc_score(labels, without_signs) + 0.1)
    flagged = model.predict(held_out) == -1
    assert flagged[labels == 0].mean() < 0.1
    assert flagged[labels == 1].mean() > 0.5


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.5])
def test_contamination_is_the_share_of_clean_rows_that_is_flagged(contamination):
    clean = np.random.default_rng(4).random((200, 8))
    model = CleanSimilarity(contamination=contamination).fit(clean)
    assert (model.predict(clean) == -1).mean() == pytest.approx(contamination, abs=0.01)


@pytest.mark.parametrize("options", [{"contamination": 0}, {"contamination": 0.6}, {"rank_1": 9}])
def test_options_outside_their_range_are_named(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        CleanSimilarity(**options).fit(np.eye(4))
