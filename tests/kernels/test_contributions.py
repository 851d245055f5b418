"""Intrinsics over the contributions of a row: against the same additions in NumPy, to the bit."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from effpath.kernels import contributions
from effpath.kernels.compiling import compiled_with
from effpath.kernels.memory import address

compiled = compiled_with()
LANES = 16
VECTORS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 13]
SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 3e38, 1e-45], np.float32)


@compiled
def reduced(x, w, runs, flip):
    at = address(x), address(w), address(runs), len(runs)
    return (
        contributions.total(at[0], at[1], at[2], at[3], flip),
        contributions.positive_total(at[0], at[1], at[2], at[3], flip),
        contributions.largest(at[0], at[1], at[2], at[3], flip),
    )


@compiled
def scanned(x, w, runs, flip, tau, masks):
    return contributions.scan(address(x), address(w), address(runs), len(runs), flip, tau, address(masks))


def row(vectors: int, seed: int, kind: str = "normal") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, weights and runs: two, with a gap between them in the weights, where there are vectors enough."""
    rng = np.random.default_rng(seed)
    x, w = (rng.normal(size=LANES * (vectors + 2) + 3).astype(np.float32) for _ in range(2))
    if kind == "ties":
        x, w = np.round(x), np.round(w)
    if kind == "special":
        x[rng.random(len(x)) < 0.2] = rng.choice(SPECIAL)
        w[rng.random(len(w)) < 0.2] = rng.choice(SPECIAL[:2])
    half = vectors // 2
    runs = [[0, 3, half], [half + 1, LANES * half + 1, vectors - half]] if vectors > 2 else [[0, 1, vectors]]
    return x, w, np.array(runs, np.int32)


def products(x: np.ndarray, w: np.ndarray, runs: np.ndarray, flip: int) -> list[tuple[int, int, np.ndarray]]:
    """(index of the vector of weights, which of four sums it is added to, 16 contributions)."""
    found = []
    for first, offset, vectors in runs.tolist():
        for v in range(vectors):
            inputs = x[offset + LANES * v :][:LANES]
            c = inputs * w[LANES * (first + v) :][:LANES]
            found.append((first + v, v % 4 if v < vectors // 4 * 4 else 0, -c if flip else c))
    return found


def halved(lanes: np.ndarray) -> np.generic:
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_sums_and_the_largest_are_those_of_lanes_and_then_of_halves(vectors: int, kind: str, flip: int) -> None:
    x, w, runs = row(vectors, vectors, kind)
    c = [part for _, _, part in products(x, w, runs, flip)]
    nothing = np.zeros(LANES)
    total = halved(reduce(np.add, [part.astype(np.float64) for part in c], nothing))
    positive = halved(reduce(np.add, [np.where(part > 0, part, 0).astype(np.float64) for part in c], nothing))
    numbers = np.concatenate([[-np.inf], *c])
    found = reduced(x, w, runs, flip)
    np.testing.assert_array_equal(found, [total, positive, numbers[~np.isnan(numbers)].max()])


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_lies_above_a_cut_is_marked_and_added_up(vectors: int, kind: str, flip: int) -> None:
    x, w, runs = row(vectors, vectors, kind)
    for tau in np.array([0, 0.5, 1, 3, np.inf], np.float32):
        masks, sums = np.full(vectors + 8, 0xABCD, np.uint16), np.zeros((4, LANES), np.float32)
        wanted = masks.copy()
        for index, which, c in products(x, w, runs, flip):
            wanted[index] = np.packbits(c > tau, bitorder="little").view(np.uint16)[0]
            sums[which] = np.where(c > tau, sums[which] + c, sums[which])
        found = scanned(x, w, runs, flip, tau, masks)
        np.testing.assert_array_equal(masks, wanted)
        np.testing.assert_array_equal(np.float32(found), halved((sums[0] + sums[1]) + (sums[2] + sums[3])))
