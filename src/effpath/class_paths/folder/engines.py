"""What runs tasks: this process, or several; `effpath.class_paths.folder.cluster` has Ray.

Each task is run once; who asks decides what is tried again. `effpath.class_paths.folder.choice` knows
engines by name.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import NamedTuple, Protocol, TypeVar, cast

import torch

from effpath.class_paths.folder.sharing import Given, Here, give
from effpath.errors import EffpathError, NumericalError, OptionError

T = TypeVar("T")
Task = Callable[[], Iterator[int]]
"""Does its work while it is iterated; gives how much is done, now and then. An engine may have to pickle it."""
ATTEMPTS = 3  # of a task that fails


class Event(NamedTuple):
    """What became of a task.

    Attributes:
        place: of the task among those that are run.
        done: how much of it is done, if it goes on.
        ended: whether it is finished.
        error: what it failed with.
        attempts: how often the engine tried it, if it failed.
    """

    place: int
    done: int = 0
    ended: bool = False
    error: Exception | None = None
    attempts: int = 1


class Engine(Protocol):
    """Runs tasks, wherever."""

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """Run each task, in any order; yield what becomes of it, in the end that it ended or its error."""

    def share(self, value: T) -> Callable[[], T]:
        """Return what opens a value where tasks run: each process is given it once, whatever the tasks."""

    def close(self) -> None:
        """Give back what the engine holds."""


class Inline:
    """Runs one task after the other, in this process."""

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """Run the tasks; see `Engine`."""
        for place, task in enumerate(tasks):
            try:
                for done in task():
                    yield Event(place, done)
            except Exception as error:  # whatever it is: it is the task's
                yield Event(place, error=error)
            else:
                yield Event(place, ended=True)

    def share(self, value: T) -> Callable[[], T]:
        """Return what opens a value; see `Engine`."""
        return Here(value)

    def close(self) -> None:
        """Hold nothing."""


class Processes:
    """Runs tasks in processes of their own, until it is closed; one that dies fails its own task alone."""

    def __init__(self, workers: int) -> None:
        """Take the number of processes, which share the threads of torch."""
        if workers < 1:
            raise OptionError(f"expected at least 1 worker, got {workers}")
        self.workers = workers
        self._idle: list[_Worker] = []
        self._shared: tuple[str, bytes] | None = None

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """Run the tasks; see `Engine`."""
        waiting = deque(enumerate(tasks))
        busy: dict[Connection, tuple[_Worker, int]] = {}
        try:
            while waiting or busy:
                free = min(len(waiting), self.workers - len(busy))
                while len(self._idle) < free:  # all start before the first is waited for
                    self._idle.append(_Worker(torch.get_num_threads() // self.workers, self._shared))
                for _ in range(free):
                    worker = self._idle.pop()
                    try:
                        worker.pipe.send(waiting[0][1])
                    except OSError:  # it died while it was idle
                        worker.stop()
                    else:
                        busy[worker.pipe] = worker, waiting.popleft()[0]
                for pipe in cast(list[Connection], wait(list(busy)) if busy else []):
                    worker, place = busy[pipe]
                    try:
                        said = pipe.recv()
                    except (EOFError, OSError):
                        del busy[pipe]
                        yield Event(place, error=worker.death())
                        continue
                    if isinstance(said, int):
                        yield Event(place, said)
                        continue
                    del busy[pipe]
                    self._idle.append(worker)
                    yield Event(place, ended=True) if said is None else Event(place, error=said)
        finally:
            for worker, _ in busy.values():
                worker.stop()

    def share(self, value: T) -> Callable[[], T]:
        """Return what opens a value; see `Engine`. OptionError where it cannot be pickled."""
        try:
            pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever it is: the value's own code runs
            raise OptionError(
                "expected a network and images that can be given to other processes, got some that cannot be "
                f"pickled ({type(error).__name__}: {error}); build them with the engine inline"
            ) from error
        self.close()  # processes that are idle were not given it
        self._shared = uuid.uuid4().hex, pickled
        return Here(value, Given(self._shared[0]))

    def close(self) -> None:
        """End the processes."""
        while self._idle:
            self._idle.pop().stop()


class _Worker:
    """A process that does what comes through its pipe, one task after the other."""

    def __init__(self, threads: int, shared: tuple[str, bytes] | None) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, max(1, threads), shared), daemon=True)
        self.process.start()
        theirs.close()

    def death(self) -> Exception:
        """Return the error of a task whose process has ended before it."""
        self.process.join()
        code = self.process.exitcode
        self.stop()
        return ChildProcessError(f"its process ended with exit code {code} (-9: killed, of too much memory say)")

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


class _GoneError(BaseException):
    """The process at the other end of a pipe is gone."""


def _serve(pipe: Connection, threads: int, shared: tuple[str, bytes] | None) -> None:
    """Do tasks until the pipe is closed: by its other end, or because that process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, which ends this one
    torch.set_num_threads(threads)
    if shared is not None:
        give(shared[0], partial(pickle.loads, shared[1]))
    with suppress(_GoneError):
        while True:
            said: Exception | None = None
            try:
                for done in _next_task(pipe)():
                    _say(pipe, int(done))
            except Exception as error:  # whatever it is: it is the task's
                said = portable(error)
            _say(pipe, said)


def _next_task(pipe: Connection) -> Task:
    try:
        task: Task = pipe.recv()
    except (EOFError, OSError) as error:
        raise _GoneError from error
    return task


def _say(pipe: Connection, said: int | Exception | None) -> None:
    try:
        pipe.send(said)
    except OSError as error:
        raise _GoneError from error


def portable(error: Exception) -> Exception:
    """Return an error that arrives whole in another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def run_tasks(
    engine: Engine,
    tasks: Sequence[Task],
    *,
    progress: Callable[[int, int], None] = lambda place, done: None,
    ended: Callable[[int], None] = lambda place: None,
) -> dict[int, Exception]:
    """Run tasks, and those that fail again after the others, until each has ended or has failed `ATTEMPTS` times.

    Args:
        engine: what runs them.
        tasks: to be run.
        progress: called with the place of a task and how much of it is done; with 0 where it failed.
        ended: called with the place of a task that is finished.

    Returns:
        The last errors of the tasks that never ended, by place.

    Raises:
        EffpathError: what a task raises on purpose is not tried again, unless it is a number that is not finite.
    """
    errors: dict[int, Exception] = {}
    tried: Counter[int] = Counter()
    left = list(range(len(tasks)))
    while left:
        with closing(engine.run([tasks[place] for place in left])) as events:
            for event in events:
                place = left[event.place]
                if event.error is not None:
                    if isinstance(event.error, EffpathError) and not isinstance(event.error, NumericalError):
                        raise event.error
                    errors[place] = event.error
                    tried[place] += event.attempts
                    progress(place, 0)
                elif event.ended:
                    errors.pop(place, None)
                    ended(place)
                else:
                    progress(place, event.done)
        left = sorted(place for place in errors if tried[place] < ATTEMPTS)
    return errors
