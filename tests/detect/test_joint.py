from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from effpath.detect import JointSimilarity
from effpath.errors import InputError, OptionError


@parametrize_with_checks([JointSimilarity()])
def test_it_is_a_scikit_learn_classifier(estimator, check):
    check(estimator)


def similarities(rng, rows, layers):
    """Clean and adversarial features [2 * rows, 2 * layers]: rank 1 falls, rank 2 rises, late layers most."""
    y = np.repeat([0, 1], rows)
    shift = 0.2 * np.linspace(0, 1, layers) * y[:, None]
    noise = 0.1 * rng.standard_normal((2 * rows, 2 * layers))
    return np.clip(np.hstack([0.7 - shift, 0.3 + shift]) + noise, 0, 1), y


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(1, 9),
    rank_1=st.integers(0, 9),
    alpha=st.sampled_from([1e-3, 0.03, 0.5]),
)
def test_no_weight_is_ever_negative_and_the_signs_are_the_papers(seed, columns, rank_1, alpha):
    rng = np.random.default_rng(seed)
    X, y = rng.random((20, columns)), np.arange(20) % 2
    rank_1 = min(rank_1, columns)
    model = JointSimilarity(rank_1, alpha=alpha).fit(X, y)
    assert model.omega_.shape == (rank_1,)
    assert model.omega_rank2_.shape == (columns - rank_1,)
    assert (model.omega_ >= 0).all()
    assert (model.omega_rank2_ >= 0).all()
    by_hand = X[:, :rank_1] @ model.omega_ - X[:, rank_1:] @ model.omega_rank2_
    np.testing.assert_allclose(-X @ model.coef_, by_hand, atol=1e-12)
    np.testing.assert_allclose(model.decision_function(X), model.intercept_ - by_hand, atol=1e-12)
    np.testing.assert_allclose(X @ model.coef_ + model.intercept_, model.intercept_ - by_hand, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), column=st.integers(0, 9), step=st.floats(0, 1))
def test_less_of_rank_1_or_more_of_rank_2_never_lowers_the_suspicion(seed, column, step):
    rng = np.random.default_rng(seed)
    model = JointSimilarity().fit(*similarities(rng, 30, 5))
    rows = rng.random((8, 10))
    moved = rows.copy()
    moved[:, column] += step if column >= 5 else -step
    assert (model.decision_function(moved) >= model.decision_function(rows) - 1e-12).all()


@pytest.mark.parametrize("rows", [20, 200])
def test_known_weights_are_ranked_almost_as_well_as_they_rank_themselves(rows):
    rng = np.random.default_rng(7)
    omega = np.array([0, 0, 1, 3, 0, 2, 0, 1.0])  # four layers of each rank
    X = rng.random((rows + 2000, 8))
    truth = -X[:, :4] @ omega[:4] + X[:, 4:] @ omega[4:]
    y = (truth + 0.3 * rng.standard_normal(len(X)) > np.median(truth)).astype(int)
    model = JointSimilarity().fit(X[:rows], y[:rows])
    best = roc_auc_score(y[rows:], truth[rows:])
    assert roc_auc_score(y[rows:], model.decision_function(X[rows:])) > best - (0.01 if rows == 200 else 0.1)
    if rows == 200:
        learnt = np.hstack([model.omega_, model.omega_rank2_])
        assert np.corrcoef(learnt, omega)[0, 1] > 0.98


def test_a_layer_that_speaks_against_the_signs_gets_no_weight():
    rng = np.random.default_rng(0)
    X, y = similarities(rng, 100, 3)
    X[:, 2] = 1 - X[:, 2]
    model = JointSimilarity().fit(X, y)
    assert model.omega_[2] == 0
    assert model.omega_rank2_[2] > 0


def test_a_rescaled_feature_gives_the_same_scores():
    rng = np.random.default_rng(1)
    X, y = similarities(rng, 50, 4)
    scale = rng.uniform(0.01, 100, 8)
    before = JointSimilarity().fit(X, y).decision_function(X)
    np.testing.assert_allclose(JointSimilarity().fit(X * scale, y).decision_function(X * scale), before, atol=1e-9)


def test_balanced_classes_ignore_how_many_rows_an_attack_has():
    rng = np.random.default_rng(2)
    X, y = similarities(rng, 60, 4)
    doubled = np.r_[np.arange(120), np.flatnonzero(y == 1)]
    once = JointSimilarity().fit(X, y)
    np.testing.assert_allclose(JointSimilarity().fit(X[doubled], y[doubled]).coef_, once.coef_, atol=1e-9)
    unbalanced = JointSimilarity(class_weight=None).fit(X[doubled], y[doubled])
    assert unbalanced.decision_function(X).mean() > once.decision_function(X).mean() + 0.05


def test_a_row_of_weight_k_is_k_rows():
    rng = np.random.default_rng(6)
    X, y = similarities(rng, 30, 4)
    weights = rng.integers(0, 4, 60)
    repeated = JointSimilarity().fit(X.repeat(weights, axis=0), y.repeat(weights))
    weighted = JointSimilarity().fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), atol=1e-9)


def test_a_weight_for_each_class_moves_the_boundary_towards_the_other():
    rng = np.random.default_rng(3)
    X, y = similarities(rng, 60, 4)
    flagged = [
        JointSimilarity(class_weight={0: 1, 1: weight}).fit(X, y).predict(X).mean() for weight in (0.1, 1, 10)
    ]
    assert flagged[0] < flagged[1] < flagged[2]


def test_half_the_columns_are_rank_1_and_an_odd_one_too():
    rng = np.random.default_rng(4)
    model = JointSimilarity().fit(rng.random((10, 5)), np.arange(10) % 2)
    assert model.omega_.shape == (3,)
    assert model.omega_rank2_.shape == (2,)


def test_a_constant_feature_has_no_weight_and_no_warning():
    rng = np.random.default_rng(5)
    X, y = similarities(rng, 30, 3)
    X[:, 1] = 1.0
    assert JointSimilarity().fit(X, y).omega_[1] == 0


@pytest.mark.parametrize(
    "options",
    [{"alpha": 0}, {"alpha": -1}, {"l1_ratio": 1.5}, {"rank_1": 5}, {"rank_1": -1}, {"class_weight": "even"}],
)
def test_options_outside_their_range_are_named(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        JointSimilarity(**options).fit(np.eye(4), [0, 1, 0, 1])


@pytest.mark.parametrize("weights", [[1, 1, 1, -1], [[1, 1, 1, 1]], [1, 0, 1, 0]])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(InputError):
        JointSimilarity().fit(np.eye(4), [0, 1, 0, 1], sample_weight=weights)


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 1, 2, 0]])
def test_labels_of_one_or_three_classes_are_refused(labels):
    with pytest.raises(InputError, match="class"):
        JointSimilarity().fit(np.eye(4), labels)


def test_a_constant_feature_of_unequal_classes_gives_no_warning(recwarn):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [30, 90])
    X = np.column_stack([np.full(120, 0.1), 0.9 - 0.3 * y + 0.1 * rng.random(120)])
    model = JointSimilarity(rank_1=2).fit(X, y)
    assert model.omega_[0] == 0 < model.omega_[1]
    assert not [warning for warning in recwarn if "sqrt" in str(warning.message)]
