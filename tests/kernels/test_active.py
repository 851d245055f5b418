"""Active outputs, one byte each: against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.kernels import active as loops
from effpath.kernels import cpu
from effpath.kernels.compiling import compiled_with
from effpath.kernels.memory import address

compiled = compiled_with()


@compiled
def listed(data, at, end, found):
    count = 0
    i = loops.next_active(address(data), at, end)
    while i < end:
        found[count] = i
        count += 1
        i = loops.next_active(address(data), i + 1, end)
    return count


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 200])
def test_active_bytes_are_found_in_any_part_and_none_beside_it(length: int, share: float) -> None:
    rng = np.random.default_rng(length)
    data = np.ones(length + 9, np.uint8)
    data[:length] = np.where(rng.random(length) < share, rng.integers(1, 256, length), 0)
    for begin in {0, 1, 5, length // 2, length}:
        for end in {begin, length} - set(range(begin)):
            found = np.full(length + 1, -1)
            count = listed(data, begin, end, found)
            assert found[:count].tolist() == (begin + np.flatnonzero(data[begin:end])).tolist()


def test_active_outputs_are_passed_on_to_the_columns_that_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    arena = (rng.random((3, 60)) < 0.5).astype(np.uint8)
    targets = rng.integers(-1, 30, 20)
    wanted = arena.copy()
    for image in range(3):
        for i in np.flatnonzero(arena[image, 40:]):
            if targets[i] >= 0:
                wanted[image, targets[i]] = 1
    cpu.push(arena, arena, 40, 20, targets)
    assert arena.tolist() == wanted.tolist()
