"""Settling which candidates are chosen: against plain Python, by ranking, by halves and by sorting."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.kernels import settle as loops
from effpath.kernels.compiling import compiled_with
from effpath.kernels.memory import address, hold

compiled = compiled_with(error_model="numpy")


@compiled
def settled(values, count, total, wanted, bias, indices, chosen):
    work, at = np.empty(len(values), np.float32), np.empty(len(values), np.int32)
    places = address(work), address(at), address(chosen)
    found = loops.settle(address(values), address(indices), count, total, wanted, bias, *places)
    hold((work, at))
    return found


def settled_plainly(values: list[float], wanted: float, bias: float) -> tuple[list[int], float]:
    """The larger first, of equal ones the earlier; the bias before what it is larger than."""
    ranked = [(-value, i) for i, value in enumerate(values)]
    if bias > 0:
        ranked = sorted([*ranked, (-bias, len(values))])
    running, chosen = 0.0, []
    for negative, i in sorted(ranked):
        if running >= wanted:
            break
        running -= negative
        chosen.append(i)
    chosen = sorted(i for i in chosen if i < len(values))
    return chosen, min((values[i] for i in chosen), default=0.0)


@pytest.mark.parametrize("kind", ["normal", "ties", "equal", "powers"])
@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 200, 1000])
def test_the_candidates_that_reach_what_is_wanted_are_chosen(count: int, kind: str) -> None:
    rng = np.random.default_rng(count)
    buffer = np.full(count + 64, np.nan, np.float32)
    buffer[:count] = {
        "normal": np.abs(rng.normal(size=count)) + 1e-3,
        "ties": rng.integers(1, 5, count) / 4,
        "equal": np.full(count, 0.1),
        "powers": 0.7 ** rng.permutation(count).clip(max=90),
    }[kind]
    values = buffer[:count].astype(np.float64).tolist()
    indices = np.full(count + 64, -1, np.int32)
    indices[:count] = 3 * np.arange(count) + 5
    total = float(np.sum(values))
    for bias in (0.0, -1.0, 0.3, 0.25, 1e3):
        for share in (1e-9, 0.1, 0.5, 0.9, 1.0):
            wanted = share * (total + max(bias, 0.0)) * (1 - 1e-12)
            if not wanted > 0:
                continue
            chosen = np.full(count + 64, -7, np.int32)
            taken, smallest = settled(buffer, count, total, wanted, bias, indices, chosen)
            expected, lowest = settled_plainly(values, wanted, bias)
            assert chosen[:taken].tolist() == [3 * i + 5 for i in expected]
            assert smallest == lowest
            assert (chosen[taken:] == -7).all()
