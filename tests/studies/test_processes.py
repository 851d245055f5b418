"""The processes of a study end with it: killed, stopped or failed, and none of them runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import endless
from liveness import PATIENCE, alive, waited
from processes import side_by_side


def pids(folder: Path) -> list[int]:
    return [int(file.read_text()) for file in folder.glob("*.pid")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, "fails"])
def test_no_process_of_a_study_outlives_it(how, tmp_path) -> None:
    arguments = [sys.executable, endless.__file__, str(tmp_path), str(how)]
    paths = os.pathsep.join(filter(None, sys.path))
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which a run in the background ignores
    with subprocess.Popen(
        arguments, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, preexec_fn=heard
    ) as study:
        try:
            assert waited(lambda: len(pids(tmp_path)) >= 2)
            if how != "fails":
                assert all(map(alive, pids(tmp_path)))
                study.send_signal(how)
            assert study.wait(PATIENCE) != 0
            assert waited(lambda: not any(map(alive, pids(tmp_path))))
        finally:
            study.kill()
        assert (b"failed on purpose" in study.stderr.read()) == (how == "fails")


def test_what_is_done_side_by_side_says_how_long_each_took() -> None:
    calls = {"short": partial(time.sleep, 0), "long": partial(time.sleep, 0.3)}
    found = side_by_side(calls, 2, "sleep")
    assert list(found) == ["short", "long"]
    assert found["short"] < 0.3 <= found["long"]
