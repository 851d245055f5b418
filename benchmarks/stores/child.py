"""A command in a process of its own: how long it took, and the most memory that it held."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, NamedTuple

PEAK_UNIT = 1024  # bytes, of ru_maxrss on Linux
BETWEEN = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([code, wall, used.ru_utime + used.ru_stime, used.ru_maxrss], file)
"""  # a small process, as the peak of a new one begins with that of the process that starts it


OWN = {"own_peaks": True}  # in a result: its peaks were measured so


def of_peaks(found: Mapping[str, Any]) -> str:
    """Return what is to be known of the peaks of a result; "" where they are those of the processes themselves."""
    if found.get("own_peaks"):
        return ""
    return (
        "The most memory is an upper bound: the count began with the memory of the program that started the "
        "command; it has not been measured again since that was mended. "
    )


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
    with (
        TemporaryFile("w+") as out,
        TemporaryFile("w+") as err,
        TemporaryDirectory() as at,
    ):
        used = Path(at) / "used.json"
        words = [sys.executable, *map(str, command)]
        subprocess.run(
            [sys.executable, "-S", "-c", BETWEEN, str(used), *words], stdout=out, stderr=err, check=True
        )
        code, wall, cpu, peak = json.loads(used.read_text())
        out.seek(0)
        err.seek(0)
        if code:
            raise SystemExit(f"{' '.join(map(str, command))} ended with {code}: {err.read()}")
        return Ran(wall, cpu, peak * PEAK_UNIT, out.read())
