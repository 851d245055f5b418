"""The work of one operator over a batch, shared by Python threads: kernels release the interpreter's lock."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np

from effpath.backends.operators import Operator, Run
from effpath.kernels.arguments import Array, Outputs, Selected, Task

T = TypeVar("T")
WORTH_A_THREAD = 1 << 20  # candidates of active outputs below which a second thread costs more than it saves


@cache
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Return Python threads for kernels that release the interpreter's lock, made once."""
    return ThreadPoolExecutor(threads, thread_name_prefix="effpath")


def over_images(run: Callable[[tuple[int, int]], T], images: int, threads: int) -> list[T]:
    """Call ``run((first image, last image))`` for equal parts of a batch, one per thread."""
    threads = max(1, min(threads, images))
    edges = np.linspace(0, images, threads + 1).astype(int).tolist()
    parts = list(itertools.pairwise(edges))
    return list(map(run, parts) if threads == 1 else thread_pool(threads).map(run, parts))


def over_outputs(run: Run, outputs: Outputs, operator: Operator, threads: int) -> list[Selected]:
    """Run a kernel over all outputs, by several threads where there is work for them."""
    geometry, images = operator.geometry, len(outputs.active)
    total = images * geometry.positions
    whole = Task(0, total, operator.block, 0, geometry.channels)
    if threads == 1:
        return [run(whole)]
    region = outputs.active[:, outputs.column : outputs.column + geometry.positions * geometry.channels]
    if np.count_nonzero(region) * geometry.candidates < WORTH_A_THREAD:
        return [run(whole)]
    tasks = _equal_parts(region, whole, threads)
    if total < 2 * threads and geometry.positions == 1:
        edges = np.linspace(0, geometry.channels, threads + 1).astype(int).tolist()
        tasks = [
            Task(image, image + 1, 1, left, right)
            for image in range(images)
            for left, right in itertools.pairwise(edges)
        ]
    return list(thread_pool(threads).map(run, tasks))


def _equal_parts(region: Array, whole: Task, threads: int) -> list[Task]:
    """Cut the positions of a batch into one range per thread, of about as many active outputs each."""
    total, block, outputs = whole.last, whole.block, whole.right
    flat = region.reshape(total, outputs)
    edges = np.unique([*(np.linspace(0, total, 16 * threads + 1).astype(np.int64) // block * block), total])
    counts = [np.count_nonzero(flat[a:b]) for a, b in itertools.pairwise(edges)]
    reached = np.concatenate([[0], np.cumsum(counts)])
    goals = np.linspace(0, reached[-1], threads + 1)[1:-1]
    cuts = np.unique([0, *edges[np.searchsorted(reached, goals)], total]).tolist()
    return [Task(a, b, block, 0, outputs) for a, b in itertools.pairwise(cuts)]
