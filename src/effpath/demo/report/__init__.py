"""The demo's result as one HTML page that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path

from effpath.demo.report.page import page_of
from effpath.demo.result import DemoResult
from effpath.errors import InputError
from effpath.files.cache import atomic_write

__all__ = ["write_report"]


def write_report(result: DemoResult, file: Path) -> None:
    """Write the report: text, tables and figures in one self-contained HTML file, the same bytes each time.

    Raises:
        InputError: the result holds no attack.
        StoreError: the file cannot be written; an older one is left as it was.
    """
    if not result.attacks:
        raise InputError("the result holds no attack, so there is nothing to report; run the demo with one")
    content = page_of(result).encode()

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    atomic_write(file, write)
