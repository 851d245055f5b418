"""Combined surprise: conformal p-values of clean rows, rules that add up, weights that stay above their floors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaincc
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from effpath.detect import CombinedSurprise, suspicion
from effpath.detect.combined import decorrelated
from effpath.detect.combining import RULES
from effpath.detect.surprise import learned_weights
from effpath.errors import InputError, OptionError

SIGNS = 12


@parametrize_with_checks([CombinedSurprise(), CombinedSurprise(rule="fisher"), CombinedSurprise(rule="harmonic")])
def test_it_is_a_scikit_learn_outlier_detector(estimator, check):
    check(estimator)


def rows(seed: int, count: int = 600, shift: float = 0.0, signs: int = 1) -> np.ndarray:
    """Clean rows, or rows in which the first signs are shifted."""
    found = np.random.default_rng(seed).normal(size=(count, SIGNS))
    found[:, :signs] += shift
    return found


@pytest.mark.parametrize("rule", RULES)
def test_what_each_sign_adds_sums_to_the_suspicion(rule: str) -> None:
    model = CombinedSurprise(rule=rule).fit(rows(0))
    X = rows(1, shift=2)
    added = model.as_score().parts(X)
    assert added.shape == (600, SIGNS)
    np.testing.assert_array_equal(added.sum(1), suspicion(model, X))
    np.testing.assert_array_equal(model.score_samples(X), -added.sum(1))


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    sign=st.integers(0, 3),
    step=st.floats(0, 9),
    levels=st.sampled_from([2, 5, 1000]),
)
def test_a_stronger_sign_never_lowers_the_suspicion(rule, seed, sign, step, levels) -> None:
    rng = np.random.default_rng(seed)
    clean, X = rng.integers(0, levels, (2, 30, 4)) / levels  # few levels give many ties
    model = CombinedSurprise(rule=rule).fit(clean)
    moved = X.copy()
    moved[:, sign] += step
    assert (suspicion(model, moved) >= suspicion(model, X) - 1e-12).all()


def test_a_surprise_is_minus_the_log_of_the_conformal_p_value() -> None:
    clean, X = rows(2, 50), rows(3, 200)
    found = CombinedSurprise().fit(clean).as_score().surprises(X)
    inside = clean.max(0) >= X
    p = (1 + (clean[None] >= X[:, None]).sum(1)) / 51
    np.testing.assert_allclose(found[inside], -np.log(p)[inside])
    assert (found[~inside] > np.log(51)).all()
    np.testing.assert_allclose(found.min(), 0, atol=1e-12)


def test_p_values_of_new_clean_rows_are_uniform() -> None:
    rng = np.random.default_rng(4)
    shares = []
    for _ in range(200):
        model = CombinedSurprise().fit(rng.exponential(size=(99, 3)))
        shares.append(np.exp(-model.as_score().surprises(rng.exponential(size=(50, 3)))))
    p = np.concatenate(shares)
    for alpha in (0.01, 0.05, 0.1, 0.5, 0.9):
        assert np.mean(p <= alpha + 1e-12) == pytest.approx(alpha, abs=0.012)


def test_beyond_the_strongest_clean_row_surprises_go_on_growing_slowly() -> None:
    model = CombinedSurprise().fit(rows(5))
    top = model.clean_[-1].max()
    line = np.tile(np.linspace(top, top + 50, 200)[:, None], SIGNS)
    found = model.as_score().surprises(line)
    assert (np.diff(found, axis=0) > 0).all()
    assert found.max() < 15
    np.testing.assert_allclose(found[0].min(), np.log(601), atol=1.5)


@pytest.mark.parametrize("rule", ["truncated", "strongest", "bonferroni", "simes", "harmonic"])
def test_one_strong_sign_is_not_diluted_by_eleven_usual_ones(rule: str) -> None:
    clean, held_out, attacked = rows(6), rows(7), rows(8, shift=3)
    X, y = np.vstack([held_out, attacked]), np.repeat([0, 1], 600)
    auc, plain = (
        roc_auc_score(y, suspicion(CombinedSurprise(rule=name, count=2).fit(clean), X))
        for name in (rule, "fisher")
    )
    assert auc > plain + 0.02


def test_fishers_sum_has_the_tail_that_brown_gives_it_where_signs_go_together() -> None:
    rng = np.random.default_rng(9)

    def together(count: int) -> np.ndarray:
        return rng.normal(size=(count, 1)) + 0.7 * rng.normal(size=(count, 4))

    model = CombinedSurprise(rule="fisher").fit(together(4000))
    score = suspicion(model, together(4000))
    assert score.mean() == pytest.approx(score.var(), rel=0.1)  # of a gamma distribution whose scale is 1
    p = gammaincc(score.mean(), score)
    for alpha in (0.05, 0.2, 0.5):
        assert (p <= alpha).mean() == pytest.approx(alpha, abs=0.03)
    assert model.scale_ < 0.6  # independent signs would have 1


def test_signs_that_say_the_same_share_the_weight_of_one() -> None:
    rng = np.random.default_rng(10)
    one, other = rng.exponential(size=(2, 5000))
    weights = decorrelated(np.column_stack([one, other, other + 1e-3 * rng.normal(size=5000)]), 0.01)
    assert weights[0] == 1
    np.testing.assert_allclose(weights[1:], 0.53, atol=0.05)
    np.testing.assert_allclose(decorrelated(np.ones((9, 3)), 0.1), np.ones(3))
    np.testing.assert_allclose(decorrelated(rng.exponential(size=(5000, 4)), 0.1), 1, atol=0.1)


@pytest.mark.parametrize("rule", RULES)
def test_attacked_rows_reweigh_the_signs_and_neither_half_is_below_its_floor(rule: str) -> None:
    clean, attacked = rows(11), rows(12, shift=1.5, signs=2)
    X, y = np.vstack([clean, attacked]), np.repeat([0, 1], 600)
    model = CombinedSurprise(rule=rule, floor=0.2, learned_floor=0.05).fit(clean)
    before = suspicion(model, X)
    surprises, own = model.as_score().surprises(X), model.weights_
    model.reweigh(X, y)
    both = own + learned_weights(surprises, y == 1, 0.05)  # clean rows decide as much as attacked ones
    np.testing.assert_allclose(model.weights_, both / both.max())
    assert model.weights_.max() == 1
    assert own.min() >= 0.2
    assert model.weights_.min() >= 0.125
    assert model.weights_[:2].min() > model.weights_[2:].max() + 0.1
    np.testing.assert_array_equal(model.as_score().surprises(X), surprises)
    assert roc_auc_score(y, suspicion(model, X)) > roc_auc_score(y, before) - 0.005
    assert (model.predict(clean) == -1).mean() == pytest.approx(0.05, abs=0.02)  # equal ranks of signs tie
    with pytest.raises(InputError, match="two classes"):
        model.reweigh(X, np.ones(1200))


def test_attacked_rows_weigh_the_signs_alike_however_often() -> None:
    X, y = np.vstack([rows(11), rows(12, shift=1.5, signs=2)]), np.repeat([0, 1], 600)
    model = CombinedSurprise().fit(rows(11)).reweigh(X, y)
    once = model.weights_
    np.testing.assert_array_equal(model.reweigh(X, y).weights_, once)


def test_fitting_again_forgets_the_weights() -> None:
    model = CombinedSurprise().fit(rows(13))
    before = suspicion(model, rows(14))
    model.reweigh(np.vstack([rows(13), rows(15, shift=3)]), np.repeat([0, 1], 600)).fit(rows(13))
    np.testing.assert_array_equal(suspicion(model, rows(14)), before)


def test_clean_rows_that_are_all_alike_give_finite_scores() -> None:
    for rule in RULES:
        model = CombinedSurprise(rule=rule).fit(np.ones((20, 3)))
        assert np.isfinite(suspicion(model, rows(16)[:, :3])).all()
        assert suspicion(model, np.full((1, 3), 2.0)) > suspicion(model, np.ones((1, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"rule": "mean"},
            "expected a rule of fisher, truncated, strongest, bonferroni, simes, harmonic, got 'mean'",
        ),
        ({"count": 0}, "count of at least 1"),
        ({"start": 0}, "start in"),
        ({"start": 1.5}, "start in"),
        ({"floor": 0}, "floor in"),
        ({"floor": 2}, "floor in"),
        ({"learned_floor": -0.1}, r"learned_floor in \[0, 1\]"),
        ({"learned_floor": 2}, "learned_floor in"),
        ({"contamination": 0.6}, "contamination in"),
    ],
)
def test_options_outside_their_range_are_named(options, message) -> None:
    with pytest.raises(OptionError, match=message):
        CombinedSurprise(**options).fit(rows(0))
