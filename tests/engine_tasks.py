"""Tasks for engines, which processes of their own can import."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effpath.errors import InputError


class UnportableError(Exception):
    """An error that cannot be made again of its text."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@dataclass(frozen=True)
class Trial:
    """Writes a line to a file whenever it is tried, then does as it is told until it was tried so often.

    Attributes:
        file: of the lines.
        fails: how it ends at first: "" (well), "dies", "raises", "refuses" or "unportable".
        times: how often it fails.
    """

    file: Path
    fails: str = ""
    times: int = 10

    def __call__(self) -> Iterator[int]:
        with self.file.open("a") as file:
            file.write(f"{os.getpid()}\n")
        yield 1
        if len(self.file.read_text().splitlines()) <= self.times:
            if self.fails == "dies":
                os._exit(7)
            elif self.fails == "raises":
                raise RuntimeError("failed")
            elif self.fails == "refuses":
                raise InputError("refused")
            elif self.fails == "unportable":
                raise UnportableError(1, 2)
        yield 2

    def tries(self) -> int:
        return len(self.file.read_text().splitlines()) if self.file.exists() else 0


class Noting:
    """Notes in a file which process it is unpickled in."""

    def __init__(self, file: Path) -> None:
        self.file, self.process = file, os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _noted, (self.file,)


def _noted(file: Path) -> Noting:
    with file.open("a") as opened:
        opened.write(f"{os.getpid()}\n")
    return Noting(file)


@dataclass(frozen=True)
class Asks:
    """Writes to a file which process what is shared was opened in, and which it is itself."""

    file: Path
    shared: Callable[[], Noting]

    def __call__(self) -> Iterator[int]:
        self.file.write_text(f"{self.shared().process} {os.getpid()}")
        yield 1
