"""What runs tasks on a Ray cluster: many machines, or the processors of this one."""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import torch

from effpath.class_paths.folder.engines import ATTEMPTS, Event, Task, portable
from effpath.class_paths.folder.sharing import Given, Here, give
from effpath.errors import MissingExtraError, OptionError

T = TypeVar("T")
OBJECTS = 256 << 20  # bytes of the object store of a local cluster; what is larger goes by way of its disk
AHEAD = 2  # tasks that are handed out for each processor, so that none waits for the next


class Ray:
    """Runs tasks on a Ray cluster until it is closed; a worker that dies fails its own task alone.

    The cluster is the one that this process is connected to; otherwise that of the environment variable
    ``RAY_ADDRESS``; otherwise one on this machine, which ends with the engine and sends no usage statistics. Every
    machine of it must have effpath, and find model, images and store under the same names.
    """

    def __init__(self, workers: int | None = None, *, gpus: float = 0, retries: int = ATTEMPTS - 1) -> None:
        """Check that Ray is there; the first tasks connect to the cluster.

        Args:
            workers: tasks at a time; None for as many as the cluster has processors.
            gpus: that Ray reserves for each task (``num_gpus``).
            retries: how often Ray runs a task again whose worker or machine was lost (``max_retries``).

        Raises:
            MissingExtraError: Ray is not installed.
            OptionError: no worker, fewer GPUs than none, or fewer retries.
        """
        if workers is not None and workers < 1:
            raise OptionError(f"expected at least 1 worker, got {workers}")
        if gpus < 0 or retries < 0:  # Ray takes -1 for "without end"
            raise OptionError(f"expected gpus and retries of at least 0, got {gpus} and {retries}")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_task_oom_retries", str(retries))  # Ray's own default is without end
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError(
                f"the engine ray needs Ray, which cannot be imported ({error}); pip install 'effpath[ray]'"
            ) from error
        self._ray: Any = ray
        self.workers, self.gpus, self.retries = workers, gpus, retries
        self._connected = False  # by this engine
        self._shared: tuple[tuple[str, Any], ...] = ()

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """Run the tasks; see `Engine`."""
        if not tasks:
            return
        self._connect()
        remote = self._ray.remote(_serve).options(
            num_cpus=1, num_gpus=self.gpus, max_retries=self.retries, num_returns="streaming"
        )
        about = os.getcwd(), tuple(sys.path), self._shared
        waiting = deque(enumerate(tasks))
        busy: dict[Any, int] = {}
        try:
            while waiting or busy:
                together = self.workers or AHEAD * int(self._ray.cluster_resources().get("CPU", 1))
                while waiting and len(busy) < max(1, together):
                    place, task = waiting.popleft()
                    busy[remote.remote(self._ray.cloudpickle.dumps(task), *about)] = place
                streams = list(busy)
                ready, _ = self._ray.wait(streams, num_returns=len(streams), timeout=0)
                for stream in ready or self._ray.wait(streams)[0]:
                    yield from self._said(stream, busy)
        finally:
            for stream in busy:
                with suppress(Exception):  # the cluster may be gone
                    self._ray.cancel(stream, force=True)

    def share(self, value: T) -> Callable[[], T]:
        """Return what opens a value; see `Engine`."""
        self._connect()
        reference = self._ray.put(value)
        self._shared = ((reference.hex(), reference),)
        return Here(value, Given(reference.hex()))

    def close(self) -> None:
        """End the cluster, if it was started for this engine, or leave it."""
        self._shared = ()
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        address = os.environ.get("RAY_ADDRESS", "")
        if address.startswith("ray://"):
            raise OptionError(
                f"expected a RAY_ADDRESS such as auto or HOST:PORT, got {address}; run the command on a machine "
                "of the cluster (`ray job submit`)"
            )
        local = address in ("", "local")
        settings: dict[str, Any] = {}
        if local:
            settings = {"num_cpus": self.workers, "include_dashboard": False, "object_store_memory": OBJECTS}
        try:
            self._ray.init(address or "local", **settings, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise OptionError(
                f"cannot connect to the Ray cluster {address or 'local'}: {error}; start it, or change RAY_ADDRESS"
            ) from error
        self._connected = True
        if local and self.gpus > (found := self._ray.cluster_resources().get("GPU", 0)):
            self.close()
            raise OptionError(f"expected {self.gpus} GPUs for each task, got a machine with {found:g}")

    def _said(self, stream: Any, busy: dict[Any, int]) -> Iterator[Event]:
        """Yield what a task has said since it was asked last; take it out of those that are busy if it ended."""
        place = busy[stream]
        while self._ray.wait([stream], timeout=0)[0]:
            try:
                said = self._ray.get(next(stream))
            except StopIteration:
                event = Event(place, ended=True)
            except self._ray.exceptions.RayError as error:
                own = isinstance(error, self._ray.exceptions.RayTaskError)  # raised before the task was its own
                lost = error if own else ChildProcessError(f"its worker was lost: {error}")
                event = Event(place, error=portable(lost), attempts=1 if own else 1 + self.retries)
            else:
                if isinstance(said, int):
                    yield Event(place, said)
                    continue
                event = Event(place, error=said)
            del busy[stream]
            yield event
            return


def _serve(
    task: bytes, folder: str, paths: Sequence[str], shared: Sequence[tuple[str, Any]]
) -> Iterator[int | Exception]:
    """Do a task where the driver's modules and files are found; say how far it is, or what it failed with."""
    with suppress(OSError):  # a machine may lack it
        os.chdir(folder)
    sys.path += [path for path in paths if path not in sys.path]
    torch.set_num_threads(1)
    for name, reference in shared:
        give(name, partial(_get, reference))
    try:
        for done in pickle.loads(task)():
            yield int(done)
    except Exception as error:  # whatever it is: it is the task's
        yield portable(error)


def _get(reference: Any) -> Any:
    import ray  # in a process of the cluster

    return ray.get(reference)
