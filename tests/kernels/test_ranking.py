"""Intrinsics over a list of values: against NumPy and against plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.kernels import ranking
from effpath.kernels.compiling import compiled_with
from effpath.kernels.memory import address

compiled = compiled_with()
LANES = 16
UNSURE = 1 << 62


@compiled
def sums(values, vectors, pivot):
    at = address(values)
    return ranking.sum_above(at, vectors, pivot), ranking.square_sum(at, vectors)


@compiled
def down_to(values, count, limit, last):
    return ranking.down_to(address(values), count, limit, last)


@compiled
def cut(values, count, wanted, base, bias):
    return ranking.cut(address(values), count, wanted, base, bias)


def halved(lanes: np.ndarray) -> np.generic:
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("vectors", [0, 1, 2, 3, 8, 21])
def test_sums_are_those_of_lanes_and_then_of_halves(vectors: int, at: int) -> None:
    values = np.random.default_rng(vectors).normal(size=LANES * vectors + at).astype(np.float32)[at:]
    values[::7] = 0
    rows = values.reshape(vectors, LANES)
    for pivot in np.array([0.0, 0.3, 1.0, np.inf], np.float32):
        above, squares = np.zeros(LANES), np.zeros(LANES, np.float32)
        for part in rows:
            above += np.where(part > pivot, part, 0)
            squares += part * part
        assert sums(values, vectors, pivot) == (halved(above), halved(squares))


@pytest.mark.parametrize(
    ("bad", "sum_of_squares"), [(np.nan, np.nan), (np.inf, np.inf), (-np.inf, np.inf), (3e38, np.inf)]
)
def test_a_sum_of_squares_shows_what_is_not_finite_or_overflows(bad: float, sum_of_squares: float) -> None:
    for place in range(2 * LANES):
        values = np.ones(2 * LANES, np.float32)
        values[place] = bad
        np.testing.assert_equal(sums(values, 2, np.float32(0))[1], sum_of_squares)


@pytest.mark.parametrize("count", [1, 2, 7, 15, 16, 17, 40])
def test_values_down_to_a_limit_are_marked_and_equal_ones_up_to_a_place(count: int) -> None:
    values = np.random.default_rng(count).integers(-2, 3, LANES).astype(np.float32)
    values[3], values[5] = -0.0, np.nan
    for limit in (-2.0, 0.0, 1.0, np.inf):
        for last in (-20, -1, 0, 3, 9, 15, 40):
            wanted = sum(
                1 << i
                for i, v in enumerate(values.tolist())
                if i < count and (v > limit or (v == limit and i <= last))
            )
            assert down_to(values, count, np.float32(limit), last) == wanted


def cut_plainly(values: list[float], wanted: float, base: float, bias: float) -> int:
    """The same additions in the same order, one candidate after the other."""
    found, margin = 0, (wanted + base) * 1e-13
    for i, value in enumerate(values):
        before = (bias if bias > value else 0.0) + base
        for j, other in enumerate(values):
            if other > value or (other == value and j < i):
                before += other
        found |= (before < wanted) << i
        if wanted - margin < before < wanted + margin:
            found |= UNSURE
    return found


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("count", range(33))
def test_candidates_are_cut_where_those_before_them_reach_what_is_wanted(count: int, at: int) -> None:
    rng = np.random.default_rng(count)
    unsure = 0
    for kind in ("normal", "ties"):
        buffer = np.full(34, np.nan, np.float32)[at:]
        values = np.abs(rng.normal(size=count)) + 1e-3 if kind == "normal" else rng.integers(1, 4, count) / 4
        buffer[:count] = values
        candidates = buffer[:count].astype(np.float64).tolist()
        for share in (0.0, 0.1, 0.5, 0.75, 1.0, 1.5):
            for base, bias in ((0.0, 0.0), (0.0, 0.4), (2.0, -1.0), (1.0, 5.0)):
                wanted = share * sum(candidates) + base
                found = cut(buffer, count, wanted, base, bias)
                assert found == cut_plainly(candidates, wanted, base, bias)
                unsure += found >= UNSURE
    if count > 8:
        assert unsure  # ties and shares that are met exactly
