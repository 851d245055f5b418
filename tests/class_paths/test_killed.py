"""A run that is killed with SIGKILL, whenever and however often, ends with the same bytes; none counts twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_store
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.verify import verify
from liveness import alive, waited
from tiny_store import COUNT, build, contents

SCRIPT = Path(tiny_store.__file__)
LINES = 24  # that a run prints, about
KILLS = 15


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    build(folder)
    return contents(folder)


@pytest.fixture(scope="module")
def builder() -> Iterator[subprocess.Popen[str]]:
    """The script, which starts the processes that are killed."""
    paths = os.pathsep.join([str(SCRIPT.parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env={**os.environ, "PYTHONPATH": paths},
    ) as started:  # fmt: skip
        yield started


def run(
    builder: subprocess.Popen[str], folder: Path, workers: int = 0,
    moments: random.Random | None = None, target: str = "driver",
) -> bool:  # fmt: skip
    """Build the store, and kill the process or one of its workers at a random moment; return whether it ended."""
    assert builder.stdin is not None
    assert builder.stdout is not None
    builder.stdin.write(f"{workers} {folder}\n")
    said, started = [builder.stdout.readline()], list[int]()
    process = int(said[0].removeprefix("opened "))

    def listen(lines: float) -> bool:
        """Read so many lines more; return whether the process is gone."""
        wanted = len(said) + lines
        while len(said) < wanted and not said[-1].startswith("exit"):
            said.append(builder.stdout.readline())
            assert said[-1], "the script itself has ended"
        return said[-1].startswith("exit")

    if moments is not None and not listen(moments.randrange(target == "worker", LINES)):
        time.sleep(moments.uniform(0, 0.1))
        started = workers_of(process)
        for killed in [process] if target == "driver" else started[:1]:
            with contextlib.suppress(ProcessLookupError):  # it may have ended
                os.kill(killed, signal.SIGKILL)
    listen(float("inf"))
    assert waited(lambda: not any(map(alive, started)))  # workers end with the process that they work for
    assert all(0 <= int(line) <= COUNT for line in said[1:] if line.strip().isdecimal())
    return said[-1] == "exit 0\n" and "ended\n" in said


def workers_of(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it may have ended
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def test_killed_at_random_moments_a_run_ends_with_the_bytes_of_an_undisturbed_one(
    tmp_path, undisturbed, builder
) -> None:
    moments = random.Random(0)
    folder, ends = tmp_path / "store", 0
    for _ in range(KILLS):
        ended = run(builder, folder, 0, moments)
        assert not folder.exists() or verify(folder) == []
        if ended:  # the next run starts anew
            assert contents(folder) == undisturbed
            folder, ends = tmp_path / f"{folder.name}+", ends + 1
    assert ends < KILLS
    assert run(builder, folder)
    assert contents(folder) == undisturbed


def test_what_a_killed_run_was_writing_is_removed(tmp_path, undisturbed) -> None:
    folder = tmp_path / "store"
    build(folder)
    for name in (".tmpAb12Cd", ".0-x.safetensors.7.tmp"):  # as safetensors names it, and as we do
        for place in (folder, folder / "classes", folder / "shards"):
            (place / name).write_bytes(b"half")
    with Store.open(folder).locked() as store:
        store.sweep()
    assert contents(folder) == undisturbed


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("target", ["driver", "worker"])
def test_so_does_a_run_in_processes_whichever_of_them_is_killed(tmp_path, undisturbed, builder, target) -> None:
    folder = tmp_path / "store"
    ended = run(builder, folder, 2, random.Random(1), target)
    assert ended or target == "driver"  # a worker is replaced
    assert verify(folder) == []
    assert ended or run(builder, folder)
    assert contents(folder) == undisturbed
