"""``effpath`` and ``python -m effpath``: the command line as a process of its own."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from typing import NoReturn

from effpath.cli import main


def run() -> NoReturn:
    """Run the command line and end the process."""
    gc.set_threshold(200_000, 50, 50)  # imports make many objects and no garbage: a fifth of their time
    code: object = 0
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
    leave(code)


def leave(code: object) -> NoReturn:
    """End the process as `sys.exit` does, but leave it to the system to take torch apart, which costs a second."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # the reader of a pipe may have gone
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    run()
