"""Progress of long work, on standard error: bars where a person is watching, lines in a pipe or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

INTERVAL = 10.0
"""Seconds between two lines, at least."""
LONGEST = 60.0
"""Seconds without a line, at most, while the work reports; between the two a line needs a tenth more done."""


@contextmanager
def track(description: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show how far the block is; yields ``progress(done, total)``.

    A terminal shows a bar, which stays when it is finished. Elsewhere there is a line at the start and at the
    end, and in long work lines between. Nothing is shown where ``quiet`` is set.

    Example:
        >>> with track("counting", quiet=True) as progress:
        ...     progress(1, 1)
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda done, total: None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(description, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
    else:
        lines = _Lines(description)
        yield lines.update
        lines.finish()


class _Lines:
    """Progress as lines ``description: done/total``."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.started = self.last = time.monotonic()
        self.done = self.said = self.total = 0
        self._say("started")

    def update(self, done: int, total: int) -> None:
        """Note how far the work is; say so where the last line is long ago."""
        self.done, self.total = done, total
        waited = time.monotonic() - self.last
        further = done - self.said >= total / 10
        if done < total and waited >= (INTERVAL if further else LONGEST):
            self.said = done
            self._say(f"{done}/{total}")

    def finish(self) -> None:
        """Say what was done, and in what time."""
        counted = f"{self.done}/{self.total}" if self.total else "done"
        self._say(f"{counted} in {time.monotonic() - self.started:.1f} s")

    def _say(self, what: str) -> None:
        self.last = time.monotonic()
        print(f"{self.description}: {what}", file=sys.stderr, flush=True)
