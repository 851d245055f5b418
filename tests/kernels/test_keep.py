"""Sets that the chosen are compared with: each form against Python's set."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.kernels import cpu
from effpath.kernels import keep as loops
from effpath.kernels.arguments import BITS, EMPTY, IDS, ROWS
from effpath.kernels.compiling import compiled_with

compiled = compiled_with()
SIZE = 200_000  # more than three chunks of rows


@compiled
def members(form, one, other, ids, found):
    for i in range(len(ids)):
        found[i] = loops.is_member(form, one, other, ids[i])


def forms(ids: np.ndarray) -> dict[int, tuple[np.ndarray, ...]]:
    """The arrays of a set in each form."""
    bits = np.zeros(SIZE, bool)
    bits[ids] = True
    starts = np.searchsorted(ids, np.arange(SIZE // 65536 + 2) * 65536)
    return {
        BITS: (np.packbits(bits, bitorder="little"),),
        ROWS: (starts, (ids & 65535).astype(np.uint16)),
        IDS: (ids,),
    }


@pytest.mark.parametrize("count", [0, 1, 2, 3, 500, 60_000, SIZE])
def test_every_form_of_a_set_has_its_members_and_no_others(count: int) -> None:
    rng = np.random.default_rng(count)
    ids = np.sort(rng.permutation(SIZE)[:count])
    asked = np.unique(np.concatenate([rng.integers(0, SIZE, 500), ids[:200], [0, 65535, 65536, SIZE - 1]]))
    wanted = np.isin(asked, ids)
    found = np.empty(len(asked), np.int64)
    for form, arrays in forms(ids).items():
        other = len(ids) if form == IDS else arrays[-1].ctypes.data
        members(form, arrays[0].ctypes.data, other, asked, found)
        assert found.astype(bool).tolist() == wanted.tolist(), form
    members(EMPTY, 0, 0, asked, found)
    assert not found.any()


def test_active_outputs_are_counted_by_their_canonical_ids() -> None:
    positions, channels = 7, 5
    active = (np.random.default_rng(0).random((3, 4 + positions * channels)) < 0.4).astype(np.uint8)
    ids = np.sort(np.random.default_rng(1).permutation(positions * channels)[:12])
    sets = np.array([[IDS, ids.ctypes.data, len(ids)], [EMPTY, 0, 0], [IDS, ids.ctypes.data, len(ids)]], np.int64)
    hits = np.zeros((3, 2), np.int64)
    cpu.count_members(active, 4, positions, channels, sets, hits)
    for image, (inside, count) in enumerate(hits.tolist()):
        at = np.flatnonzero(active[image, 4:])
        neurons = at % channels * positions + at // channels
        assert count == len(at)
        assert inside == (0 if image == 1 else np.isin(neurons, ids).sum())
