"""The compiled walk reads and writes nothing outside its arrays, where there may be no memory at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import effpath

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="mprotect is POSIX's")


def child(*what: str) -> subprocess.CompletedProcess[str]:
    """Run `fenced` in a process of its own, which may be ended by a signal."""
    path = os.pathsep.join([str(TESTS), str(Path(effpath.__file__).parents[1])])
    command = [sys.executable, "-m", "fenced", *what]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_no_operator_touches_memory_before_or_behind_its_arrays() -> None:
    done = child()
    assert done.returncode == 0, f"at {done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    assert len(done.stdout.splitlines()) == 49


def test_the_fence_ends_a_process_that_strays() -> None:
    assert child("stray").returncode in (-signal.SIGSEGV, -signal.SIGBUS)
