"""A run of a study whose processes do not end by themselves; `tests/studies/test_processes.py` stops it."""

import os
import sys
import time
from functools import partial
from pathlib import Path

from processes import side_by_side


def linger(file: Path) -> None:
    """Say which process this is, and stay."""
    file.with_suffix(".part").write_text(str(os.getpid()))
    file.with_suffix(".part").rename(file)
    time.sleep(600)


def fail(file: Path) -> None:
    """Fail as soon as the others are there."""
    while len(list(file.parent.glob("*.pid"))) < 2:
        time.sleep(0.05)
    raise RuntimeError("failed on purpose")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    calls = {f"{place}.pid": partial(linger, folder / f"{place}.pid") for place in range(2)}
    if "fails" in sys.argv:
        calls = {"fails": partial(fail, folder / "fails"), **calls}
    side_by_side(calls, 2 + ("fails" in sys.argv), "for ever")
