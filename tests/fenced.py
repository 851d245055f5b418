"""Walks whose arrays have unreadable memory before and behind them: an access out of bounds ends the process.

python -m fenced [stray]    # with tests and src on the path; prints the name of each network
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from backends import test_layouts
from cases import CASES, combinations, images_for, operator_of, options_of
from effpath.backends import compiled
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import walk

FENCE = 1 << 20  # bytes that cannot be read, on either side
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
kept = []  # maps of memory, which end with the process


def fenced(values: Tensor, side: str) -> Tensor:
    """Return a copy that begins right behind a fence, or ends, by whole elements, right before one."""
    room = -(-max(values.nbytes, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, room + 2 * FENCE)
    kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for fence in (start, start + FENCE + room):
        if libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(FENCE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    if not values.numel():
        return values
    at = FENCE + (room - values.nbytes if side == "behind" else 0)
    made = torch.frombuffer(memory, dtype=values.dtype, count=values.numel(), offset=at).view(values.shape)
    return made.copy_(values)


def recordings() -> Iterator[tuple[str, Recorded]]:
    """Networks whose tensors lie in memory in every way, and a fifth of the operators of the table."""
    for name in test_layouts.NETS:
        yield name, test_layouts.recorded_for(name, batch=2)
    for case in CASES[::5]:
        graph, options = operator_of(case)[1], options_of("default", 0.5)
        yield case.name, record(graph, images_for(case)[:2], options=options, include_auxiliary=True)


def walk_all() -> None:
    """Walk from all outputs, behind a fence and before one, with a sixteenth of all options each."""
    for number, (name, recorded) in enumerate(recordings()):
        print(name, flush=True)
        for side in ("before", "behind"):
            zeros = partial(fenced_zeros, side)
            compiled.np = SimpleNamespace(**{**vars(np), "zeros": zeros})
            values = {node: fenced(value.contiguous(), side) for node, value in recorded.values.items()}
            for options in combinations(number % 4)[number // 4 % 4 :: 4]:
                one = replace(recorded, values=values, header=replace(recorded.header, options=options))
                walk(one, torch.ones_like(recorded.logits, dtype=torch.bool))


def fenced_zeros(side: str, shape: tuple[int, ...], kind: type = float) -> np.ndarray:
    return fenced(torch.from_numpy(np.zeros(shape, kind)), side).numpy()


def stray() -> None:
    """Read one element before the first: the fence must end the process."""
    values = fenced(torch.ones(4), "before")
    print(ctypes.c_float.from_address(values.data_ptr() - 4))


if __name__ == "__main__":
    torch.set_num_threads(1)
    stray() if sys.argv[1:] == ["stray"] else walk_all()
