"""Progress of long work, on standard error: bars where a person is watching, lines in a pipe or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[int, int], None]
"""Takes how much is done, and how much there is."""
Track = Callable[[str], AbstractContextManager[Progress]]
"""Opens the progress of a named step: `track`, or what a caller puts in its place."""

INTERVAL = 10.0
"""Seconds between two lines, at least."""
LONGEST = 60.0
"""Seconds without a line, at most, while the work reports; between the two a line needs a tenth more done."""


@contextmanager
def track(description: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show how far the block is; yields ``progress(done, total)``.

    A terminal shows a bar, which stays when it is finished. Elsewhere there is a line at the start and at the
    end, and in long work lines between. Nothing is shown where ``quiet`` is set.

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
        columns = (
            shown.TextColumn("{task.description}", markup=False),
            shown.BarColumn(),
            shown.MofNCompleteColumn(),
            shown.TimeRemainingColumn(elapsed_when_finished=True),
        )
        with shown.Progress(*columns, console=console) as bars:
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
