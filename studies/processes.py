"""Work in processes that end with the one that asks for it, however that ends: done, stopped or killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

from effpath.files.progress import track


def side_by_side(calls: Mapping[str, Callable[[], object]], processes: int, what: str) -> dict[str, float]:
    """Do work in so many processes; return the seconds of each call."""
    found = {}
    with track(what) as progress, _pool(processes) as pool:
        running = {item: pool.submit(seconds_of, call) for item, call in calls.items()}
        for item, future in running.items():
            found[item] = future.result()
            progress(len(found), len(calls))
    return found


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 1)


def end_with(other: Connection | int) -> None:
    """Let this process end as soon as the other end of a pipe is closed, by its process or because that is gone.

    Ctrl-C is left to that process, which ends this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        wait([other])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool whose processes end with this one, and at once where the block fails: it would wait for them."""
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ours, ProcessPoolExecutor(processes, context, end_with, (theirs,)) as pool:
        try:
            yield pool
        except BaseException:
            ours.close()
            raise
