"""Progress of long work, on standard error: bars in a terminal, lines in a pipe or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

Progress = Callable[[int, int], None]
"""Takes how much is done, and the total."""
Track = Callable[[str], AbstractContextManager[Progress]]
"""Opens the progress of a named step: `track`, or a replacement that a caller passes."""

INTERVAL = 10.0
"""Minimum seconds between two lines."""
LONGEST = 60.0
"""Maximum seconds without a line while work reports; between the two limits a line needs a tenth more done."""


@contextmanager
def track(description: str, *, unit: str = "", quiet: bool = False) -> Iterator[Progress]:
    """Show the progress of the block; yields ``progress(done, total)``.

    A terminal shows a bar, which stays when it is finished. Elsewhere there is a line at the start and at the
    end, and during long work lines in between. With ``quiet`` nothing is shown.

    Args:
        description: what is done.
        unit: of what is counted, such as "images": how many are done per second is shown as well. The first report
            then says what was done before the block began, and should come at its start.
        quiet: show nothing.

    Example:
        >>> with track("counting", quiet=True) as progress:
        ...     progress(1, 1)
    """
    if quiet:
        yield lambda done, total: None
        return
    from rich import progress as shown
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        rate = shown.TextColumn("{task.fields[rate]}") if unit else None
        columns = (
            shown.TextColumn("{task.description}", markup=False),
            shown.BarColumn(),
            shown.MofNCompleteColumn(),
            *([rate] if rate else []),
            shown.TimeRemainingColumn(elapsed_when_finished=True),
        )
        with shown.Progress(*columns, console=console) as bars:
            task = bars.add_task(description, total=None, rate="")

            def update(done: int, total: int) -> None:
                first = bars.tasks[0].total is None
                if unit and first:  # what was done before is not part of the speed
                    bars.reset(task, completed=done, total=total)
                    return
                bars.update(task, completed=done, total=total)
                if unit and (speed := bars.tasks[0].speed):
                    bars.update(task, rate=_per_second(speed, unit))

            yield update
    else:
        lines = _Lines(description, unit)
        yield lines.update
        lines.finish()


def _per_second(speed: float, unit: str) -> str:
    return f"{speed:.0f} {unit}/s" if speed >= 10 else f"{speed:.2g} {unit}/s"


class _Lines:
    """Progress as lines ``description: done/total``, with a unit followed by the speed and the time left."""

    def __init__(self, description: str, unit: str) -> None:
        self.description, self.unit = description, unit
        self.started = self.last = time.monotonic()
        self.done = self.said = self.total = 0
        self.first: tuple[float, int] | None = None  # report: when, and how much was done
        self._say("started")

    def update(self, done: int, total: int) -> None:
        """Record the progress; print it if the last line was long ago."""
        now = time.monotonic()
        if self.first is None:
            self.first = now, done
        self.done, self.total = done, total
        waited = now - self.last
        further = done - self.said >= total / 10
        if done < total and waited >= (INTERVAL if further else LONGEST):
            self.said = done
            speed = self._speed(now)
            left = f", {timedelta(seconds=round((total - done) / speed))} left" if speed else ""
            self._say(f"{done}/{total}{self._told(speed)}{left}")

    def finish(self) -> None:
        """Print how much was done, and how long it took."""
        now = time.monotonic()
        counted = f"{self.done}/{self.total}" if self.total else "done"
        self._say(f"{counted} in {now - self.started:.1f} s{self._told(self._speed(now))}")

    def _speed(self, now: float) -> float:
        """Return how much was done per second since the first report; 0 where that is not known, or not shown."""
        if not self.unit or self.first is None or now <= self.first[0]:
            return 0.0
        return max(0.0, (self.done - self.first[1]) / (now - self.first[0]))

    def _told(self, speed: float) -> str:
        return f", {_per_second(speed, self.unit)}" if speed else ""

    def _say(self, what: str) -> None:
        self.last = time.monotonic()
        print(f"{self.description}: {what}", file=sys.stderr, flush=True)
