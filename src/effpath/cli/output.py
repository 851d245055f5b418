"""What commands print: JSON that every parser accepts, whole tables and sentences, letters that a terminal has."""

from __future__ import annotations

import codecs
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.cells import cell_len

from effpath.files.plain import json_of

SHOWN = 20
"""Rows that a table of images or classes shows; JSON has all of them."""
PAGE = ".html"
_GAP = 2 * " "
_PLAIN = {
    "θ": "theta", "×": "x", "÷": "/", "≤": "<=", "≥": ">=", "±": "+-", "–": "-", "—": "-", "−": "-", "…": "...",
    "⌈": "ceil(", "⌉": ")", "·": "*", "→": "->", "’": "'", "‘": "'", "“": '"', "”": '"', "²": "^2", "ε": "epsilon",
    "µ": "u", "∞": "inf", "•": "*", "━": "-", "╸": "-", "╺": "-", "█": "#",
}  # fmt: skip


def spelled(error: UnicodeError) -> tuple[str, int]:
    """Return a spelling of the letters that cannot be encoded, and where encoding continues.

    >>> "3×32 at θ".encode("ascii", "effpath").decode()
    '3x32 at theta'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


codecs.register_error("effpath", spelled)


def show_every_letter(*streams: TextIO) -> None:
    """Let streams (standard output and error, where none is named) spell letters that they cannot encode."""
    for stream in streams or (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # what a test or a notebook puts in their place may have none
            reconfigure(errors="effpath")


def print_json(value: Any) -> None:
    """Print a value as JSON; NaN and infinities, which JSON does not have, become null."""
    print(json_of(value))


def terminal_width() -> int | None:
    """Return the width of standard output in characters; None if it is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def filled(text: str, width: int | None, indent: str = "") -> str:
    """Return a sentence in lines of at most ``width`` characters, whole words; None leaves it one line."""
    if width is None:
        return text
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def print_text(text: str, indent: str = "") -> None:
    """Print a sentence, folded between words to a terminal's width; whole into a pipe.

    Args:
        text: with the signs of pages or without.
        indent: of the lines after the first.
    """
    print(filled(plain(text), terminal_width(), indent))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, width: int | None = None) -> str:
    """Return a table as lines of text; one wider than ``width`` is split into parts that repeat the first column.

    Args:
        head: name of each column.
        rows: one cell per column.
        left: number of columns that are aligned to the left; the others are aligned to the right.
        width: of the terminal, in characters; None for lines of any length.

    Example:
        >>> print(table(["attack", "AUC"], [["FGSM", "0.987"], ["BIM", "1.0"]]))
        attack    AUC
        FGSM    0.987
        BIM       1.0
    """
    lines = [head, *rows]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(head))]
    parts = [[0]]  # columns that are shown together: all, or as many as fit next to the first
    for column in range(1, len(widths)):
        used = sum(widths[other] + len(_GAP) for other in parts[-1]) + widths[column]
        if width is not None and used > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(column)
    shown = []
    for part in parts:
        for at, line in enumerate(lines):
            cells = []
            for column in part:
                space = " " * (widths[column] - cell_len(line[column]))
                cells.append(line[column] + space if column < left else space + line[column])
            shown.append(_GAP.join(cells).rstrip())
            if at == 0 and width is not None:
                shown.append(_GAP.join("-" * widths[column] for column in part))
        shown.append("")
    return "\n".join(shown[:-1])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int | None = None) -> None:
    """Print a table: framed and as wide as the terminal, or, into a pipe, one whole line per row.

    Args:
        columns: their names.
        rows: cells, taken as they are: [brackets] and :colons: mean nothing.
        left: how many columns are aligned to the left, those after them to the right; all if not given.
    """
    from rich.console import Console
    from rich.table import Table

    left = len(columns) if left is None else left
    console = Console(file=sys.stdout, markup=False, emoji=False)
    if not console.is_terminal:
        print(table(columns, rows, left=left))
        return
    framed = Table()
    for at, column in enumerate(columns):
        framed.add_column(column, overflow="fold", justify="left" if at < left else "right")
    for row in rows:
        framed.add_row(*row)
    console.print(framed)


def print_first(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int | None = None) -> str:
    """Print the first `SHOWN` rows as a table; return " (and 5 more)" for the sentence below it, if so.

    Args:
        columns, rows, left: as of `print_table`.
    """
    print_table(columns, rows[:SHOWN], left=left)
    return f" (and {len(rows) - SHOWN} more)" if len(rows) > SHOWN else ""


def say(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {text}", file=sys.stderr)


def plain(text: str) -> str:
    """Return a sentence with the blanks, commas and signs of tables, which every terminal has."""
    return text.replace("\u202f%", " %").replace("\u202f", ",").replace("−", "-")


def check_files(files: Sequence[Path], endings: Sequence[str] = (PAGE,)) -> None:
    """Raise OptionError for a file with another ending, StoreError where it cannot be written, before the work."""
    from effpath.errors import OptionError
    from effpath.files.cache import check_output

    *others, last = endings
    expected = f"{', '.join(others)} or {last}" if others else f"an {last} file"
    for file in files:
        if file.suffix not in endings:
            raise OptionError(f"expected --output as {expected}, got {file}")
        check_output(file)


def deliver(
    found: Mapping[str, Any],
    tell: Callable[[], None],
    files: Sequence[Path],
    page: Callable[[], str],
    figure: Callable[[Path], None] | None = None,
    *,
    as_json: bool,
) -> None:
    """Write what was found to files, and print it: as JSON, or in words with the names of the files below.

    Args:
        found: for JSON.
        tell: prints it in words.
        files: to write, pages and figures.
        page: returns the page.
        figure: writes a figure; None where all files are pages.
        as_json: print JSON.
    """
    from effpath.views.page.pages import write_page

    for file in files:
        if figure is None or file.suffix == PAGE:
            write_page(page(), file)
        else:
            figure(file)
    if as_json:
        print_json(found)
        return
    tell()
    for file in files:
        print(f"{'page' if file.suffix == PAGE else 'figure'}: {file}")
