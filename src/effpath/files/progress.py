"""Progress of long work, on standard error: bars in a terminal, lines in a pipe or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[int, int], None]
"""Takes how much is done, and the total."""
Track = Callable[[str], AbstractContextManager[Progress]]
"""Opens the progress of a named step: `track`, or a replacement that a caller passes."""

INTERVAL = 10.0
"""Minimum seconds between two lines."""
LONGEST = 60.0
"""Maximum seconds without a line while work reports; between the two limits a line needs a tenth more done."""


@contextmanager
def track(description: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show the progress of the block; yields ``progress(done, total)``.

    A terminal shows a bar, which stays when it is finished. Elsewhere there is a line at the start and at the
    end, and during long work lines in between. With ``quiet`` nothing is shown.

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
        """Record the progress; print it if the last line was long ago."""
        self.done, self.total = done, total
        waited = time.monotonic() - self.last
        further = done - self.said >= total / 10
        if done < total and waited >= (INTERVAL if further else LONGEST):
            self.said = done
            self._say(f"{done}/{total}")

    def finish(self) -> None:
        """Print how much was done, and how long it took."""
        counted = f"{self.done}/{self.total}" if self.total else "done"
        self._say(f"{counted} in {time.monotonic() - self.started:.1f} s")

    def _say(self, what: str) -> None:
        self.last = time.monotonic()
        print(f"{self.description}: {what}", file=sys.stderr, flush=True)
