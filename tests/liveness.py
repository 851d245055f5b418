"""Whether processes run, for tests of how they end."""

import os
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0  # seconds


def waited(done: Callable[[], bool]) -> bool:
    """Wait until something is done; return whether it was in time."""
    end = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    return done()


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and that no one has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:  # it ended just now, or this system has no such files
        return not status.parents[1].exists()
