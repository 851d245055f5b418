"""Tables of the command line: aligned columns, readable at any width, whole lines in a pipe."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len

GAP = 2


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, width: int | None = None) -> str:
    r"""Return a table as lines of text; one wider than ``width`` is split into parts that repeat the first column.

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
    shown = []
    for part in _parts(widths, width):
        for at, line in enumerate(lines):
            cells = [_aligned(line[column], widths[column], column < left) for column in part]
            shown.append((" " * GAP).join(cells).rstrip())
            if at == 0 and width is not None:
                shown.append((" " * GAP).join("-" * widths[column] for column in part))
        shown.append("")
    return "\n".join(shown[:-1])


def filled(text: str, width: int | None) -> str:
    """Return a sentence in lines of at most ``width`` characters, whole words; None leaves it one line."""
    return text if width is None else textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def terminal_width() -> int | None:
    """Width of standard output in characters; None if it is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _parts(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Columns that are shown together: all, or as many as fit next to the first."""
    parts = [[0]]
    for column in range(1, len(widths)):
        used = sum(widths[other] + GAP for other in parts[-1]) + widths[column]
        if width is not None and used > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(column)
    return parts


def _aligned(cell: str, width: int, left: bool) -> str:
    space = " " * (width - cell_len(cell))
    return cell + space if left else space + cell
