"""Keeping a build of class paths within a bound of memory: reckoned before the work, checked during it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from torch import Tensor

from effpath.errors import OptionError
from effpath.graph.inputs import images_together
from effpath.walk.recording import bytes_per_image

if TYPE_CHECKING:
    from effpath.class_paths.build import Work

LIBRARIES = 1536 << 20  # bytes of torch, of capturing a network, and of Numba, which may have to compile
NETWORK = 4  # times its parameters: model, graph, and both in another layout while it is captured
RECORDED = 2  # times the activations that a walk reads: the masks come on top
FORWARD = 4  # times the largest activation, which lives for the forward pass alone
SHARE = 0.02  # of the elements of a network that a class path of it is taken to have; small networks have more
WAITING = 8 << 20  # bytes of ids that wait to be counted, of each set
LESS = "keep fewer layers, fewer levels or no use counts, or build smaller shards"


@dataclass(frozen=True)
class Budget:
    """How the memory of one process is spent.

    Attributes:
        memory: bytes that it may take.
        together: images that are recorded together.
        room: bytes for the class paths that are being built.
    """

    memory: int
    together: int
    room: int

    def check(self) -> None:
        """Raise OptionError where the process takes more; where the system does not tell, there is no check."""
        taken = resident()
        if taken > self.memory:
            raise OptionError(
                f"expected the process to take at most {in_words(self.memory)} of memory, got {in_words(taken)}; "
                f"give more (memory, --memory), or {LESS}"
            )


def budget_of(work: Work, classes: int) -> Budget | None:
    """Return how a process spends the memory that it may take; None where that is not bounded.

    Args:
        work: its options say how much it may take, and at most how many images are recorded together.
        classes: of which class paths are built at a time.

    Raises:
        OptionError: not even one image at a time fits; says how much would do.
    """
    memory = work.options.memory
    if memory is None:
        return None
    graph = work.graph
    recorded = bytes_per_image(graph, work.selection, work.layers)
    largest = max(map(graph.size, graph.live)) * graph.dtype.itemsize
    each = RECORDED * recorded + FORWARD * largest
    fixed = LIBRARIES + NETWORK * sum(constant.nbytes for constant in graph.constants.values())
    fixed += work.images.nbytes if isinstance(work.images, Tensor) else 0

    def needed(together: int) -> int:
        return fixed + together * each + _building(work, classes, min(together, classes))

    if needed(1) > memory:
        raise OptionError(
            f"expected a memory of at least {in_words(needed(1))} for this network, its layers and levels, got "
            f"{in_words(memory)}; give more, or {LESS}"
        )
    most = images_together(recorded, work.options.batch_size)
    together = next(count for count in range(most, 0, -1) if needed(count) <= memory)
    return Budget(memory, together, memory - fixed - together * each)


def _building(work: Work, classes: int, met: int) -> int:
    """Return the bytes of class paths while they are built; images of so many classes meet in a batch."""
    header = work.empty.header
    if work.options.counts:
        sizes = [header.universe(level, key) for level in work.empty.levels for key in header.keys(level)]
        return classes * min(sum(WAITING + int(20 * SHARE * size) for size in sizes), 4 * sum(sizes))
    slots = sum(layer.window.slots for layer in header.layers)
    outputs = sum(layer.window.outputs for layer in header.layers)
    return met * (slots // 8 + outputs) + classes * int(4 * SHARE * slots)


def resident() -> int:
    """Return the bytes of memory that this process takes now; 0 where the system does not tell."""
    try:
        return int(FilePath("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def in_words(size: int) -> str:
    """Return a size as people, and ``--memory``, write it: rounded up to MiB.

    >>> in_words(1 << 30), in_words((5 << 20) + 1)
    ('1024M', '6M')
    """
    return f"{-(-size >> 20)}M"
