"""A command in a process of its own: how long it took, and the most memory that it held."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

PEAK_UNIT = 1024  # bytes, of ru_maxrss on Linux


class Ran(NamedTuple):
    """What a command took.

    Attributes:
        wall_s: by the clock.
        cpu_s: of processors, its own processes included.
        peak_bytes: the most memory of its largest process.
        said: what it printed.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    said: str


def run(command: Sequence[object]) -> Ran:
    """Run a command of Python to its end: ``["-m", "effpath", …]``; stop with what it said where it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}: {err.read()}")
        return Ran(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * PEAK_UNIT, out.read())
