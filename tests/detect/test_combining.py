"""Each rule that makes one suspicion of many surprises: against its formula on p-values, and the laws of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effpath.detect.combining import RULES

SIGNS = 5
START = float(-np.log(0.1))


def parts(rule: str, surprises: np.ndarray, weights: np.ndarray | None = None, count: int = 3) -> np.ndarray:
    return RULES[rule](surprises, np.ones(surprises.shape[1]) if weights is None else weights, count, START)


def drawn(seed: int, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Surprises of clean rows, some with a strong sign, and weights."""
    rng = np.random.default_rng(seed)
    surprises = rng.exponential(size=(rows, SIGNS))
    surprises[::4, 2] += 5
    return surprises, rng.uniform(0.25, 1, SIGNS)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), sign=st.integers(0, SIGNS - 1), step=st.floats(0, 9))
def test_a_more_surprising_sign_never_lowers_the_suspicion(rule: str, seed: int, sign: int, step: float) -> None:
    surprises, weights = drawn(seed)
    moved = surprises.copy()
    moved[:, sign] += step
    before, after = (parts(rule, each, weights).sum(1) for each in (surprises, moved))
    assert (after >= before - 1e-12).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_signs_does_not_matter(rule: str) -> None:
    surprises, weights = drawn(0)
    order = np.array([3, 0, 4, 1, 2])
    turned = parts(rule, surprises[:, order], weights[order])
    np.testing.assert_allclose(turned, parts(rule, surprises, weights)[:, order], atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_row_does_not_depend_on_the_others(rule: str) -> None:
    surprises, weights = drawn(1)
    whole = parts(rule, surprises, weights)
    alone = np.concatenate([parts(rule, row[None], weights) for row in surprises])
    np.testing.assert_allclose(alone, whole, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_the_strongest_sign_adds_most(rule: str) -> None:
    surprises = np.array([[0.5, 0.2, 6.0, 0.1, 0.4]])
    found = parts(rule, surprises)
    assert found[0].argmax() == 2
    assert found.sum() > 0


def test_fishers_sum_is_minus_the_log_of_the_product_of_p() -> None:
    surprises, weights = drawn(2)
    p = np.exp(-surprises)
    np.testing.assert_allclose(parts("fisher", surprises).sum(1), -np.log(p.prod(1)))
    np.testing.assert_allclose(parts("fisher", surprises, weights).sum(1), -np.log((p**weights).prod(1)))


def test_the_truncated_sum_has_no_room_for_usual_signs() -> None:
    surprises = np.array([[2.0, 1.0, 0.1], [2.0, 1.0, START + 1.5]])
    np.testing.assert_allclose(parts("truncated", surprises), [[0, 0, 0], [0, 0, 1.5]])


def test_the_strongest_are_so_many_and_of_equal_ones_the_first() -> None:
    surprises = np.array([[1.0, 4.0, 2.0, 4.0, 4.0]])
    np.testing.assert_array_equal(parts("strongest", surprises, count=2), [[0, 4, 0, 4, 0]])
    np.testing.assert_array_equal(parts("strongest", surprises, count=9), surprises)


def test_bonferronis_p_is_the_least_times_the_number_of_signs() -> None:
    surprises, weights = drawn(3)
    p = np.exp(-surprises)
    np.testing.assert_allclose(parts("bonferroni", surprises).sum(1), -np.log(SIGNS * p.min(1)))
    shares = weights / weights.sum()
    np.testing.assert_allclose(parts("bonferroni", surprises, weights).sum(1), -np.log((p / shares).min(1)))
    assert (np.count_nonzero(parts("bonferroni", surprises), axis=1) == 1).all()


def test_simess_p_is_the_least_of_the_ranked() -> None:
    surprises, _ = drawn(4)
    ranked = np.sort(np.exp(-surprises), axis=1)
    wanted = (SIGNS * ranked / np.arange(1, SIGNS + 1)).min(1)
    np.testing.assert_allclose(parts("simes", surprises).sum(1), -np.log(wanted), atol=1e-12)
    two = parts("simes", np.array([[3.0, 3.0, 0.0, 0.0]]))
    np.testing.assert_allclose(two, [[(3 - np.log(2)) / 2, (3 - np.log(2)) / 2, 0, 0]])


def test_the_harmonic_mean_of_p_is_one_over_the_mean_of_one_over_p() -> None:
    surprises, weights = drawn(5)
    p, shares = np.exp(-surprises), weights / weights.sum()
    np.testing.assert_allclose(parts("harmonic", surprises, weights).sum(1), -np.log(1 / (shares / p).sum(1)))
    assert np.isfinite(parts("harmonic", 2000 * np.ones((1, 3)))).all()


@pytest.mark.parametrize("rule", ["bonferroni", "simes", "harmonic"])
def test_the_price_keeps_what_is_promised_for_independent_signs(rule: str) -> None:
    """The p-value of the combination is at most α in about α of the rows; of the harmonic mean, in up to twice."""
    p = np.random.default_rng(6).uniform(size=(20_000, SIGNS))
    combined = np.exp(-parts(rule, -np.log(p)).sum(1))
    for alpha in (0.01, 0.05):
        assert (combined <= alpha).mean() <= alpha * (2 if rule == "harmonic" else 1.25)
