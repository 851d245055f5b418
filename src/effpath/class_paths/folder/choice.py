"""Which engine builds: by name, or as many processes as pay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TypeVar

from effpath.class_paths.folder.cluster import Ray
from effpath.class_paths.folder.engines import Engine, Event, Inline, Processes, Task
from effpath.errors import OptionError

T = TypeVar("T")
ENGINES = ("inline", "processes", "ray")
ALONE = 5.0  # seconds, about as many as other processes take to start


class Gradual:
    """Runs tasks in this process until it is known that others pay: small work ends before they would have begun.

    The clock starts after the first batch, for which loops may have to be compiled; then Numba's cache has them.
    When the time is over processes take over, and one of them begins the task again that was under way.
    """

    def __init__(self, workers: int, alone: float = ALONE) -> None:
        """Take the number of processes, and how many seconds this one works alone."""
        self._processes = Processes(workers)
        self.workers, self.alone = workers, alone
        self._since: float | None = None
        self._together = False  # whether processes have taken over, for good: a task may have killed one

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """Run the tasks; see `Engine`."""
        done = 0
        while done < len(tasks) and not self._together:
            with closing(Inline().run([tasks[done]])) as events:
                for event in events:
                    yield event._replace(place=done)
                    going_on = not event.ended and event.error is None
                    if self._pays(len(tasks) - done - (not going_on)) and going_on:
                        break
                else:
                    done += 1
        with closing(self._processes.run(tasks[done:])) as events:
            for event in events:
                yield event._replace(place=event.place + done)

    def share(self, value: T) -> Callable[[], T]:
        """Return what opens a value; see `Engine`."""
        return self._processes.share(value)

    def close(self) -> None:
        """End the processes, if there are any."""
        self._processes.close()

    def _pays(self, left: int) -> bool:
        """Tell whether processes take over from now on, with so many tasks left."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        self._together = self.workers > 1 and left > 1 and now - self._since >= self.alone
        return self._together


def engine_named(name: str, workers: int | None = None, gpus: float = 0) -> Engine:
    """Return an engine.

    Args:
        name: inline (this process), processes or ray.
        workers: tasks at a time; None for as many as there are processors.
        gpus: that Ray reserves for each task.

    Raises:
        MissingExtraError: Ray is not installed.
        OptionError: another name; workers or GPUs for an engine that has none.
    """
    if name not in ENGINES:
        raise OptionError(f"expected an engine {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, got {name!r}")
    if workers is not None and name == "inline":
        raise OptionError("expected no workers with the engine inline, which is this process; name another engine")
    if gpus and name != "ray":
        raise OptionError(f"expected gpus with the engine ray, which reserves them, got the engine {name}")
    if name == "ray":
        return Ray(workers, gpus=gpus)
    return Inline() if name == "inline" else Processes(processors() if workers is None else workers)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
