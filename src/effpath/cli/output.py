"""What commands print: JSON that every parser accepts, whole tables, notes on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from effpath.cli.columns import table as aligned

SHOWN = 20
"""Rows that a table of images or classes shows; JSON has all of them."""


def print_json(value: Any) -> None:
    """Print a value as JSON; NaN and infinities, which JSON does not have, become null."""
    print(json.dumps(finite(value), indent=1, allow_nan=False))


def finite(value: Any) -> Any:
    """Return the value with None in place of every NaN and infinity.

    Example:
        >>> finite({"auc": (0.5, float("nan")), "name": "inf"})
        {'auc': [0.5, None], 'name': 'inf'}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int | None = None) -> None:
    """Print a table: framed and as wide as the terminal, or, into a pipe, one whole line per row.

    Args:
        columns: their names.
        rows: cells, taken as they are: [brackets] and :colons: mean nothing.
        left: how many columns are aligned to the left, those after them to the right; all if not given.
    """
    left = len(columns) if left is None else left
    console = Console(file=sys.stdout, markup=False, emoji=False)
    if not console.is_terminal:
        print(aligned(columns, rows, left=left))
        return
    table = Table()
    for at, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="left" if at < left else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_first(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int | None = None) -> str:
    """Print the first `SHOWN` rows as a table; returns " (and 5 more)" for the sentence below it, if so."""
    print_table(columns, rows[:SHOWN], left=left)
    return f" (and {len(rows) - SHOWN} more)" if len(rows) > SHOWN else ""


def percent(value: float) -> str:
    """Return a share as a percentage of three digits: 12.3 %."""
    return f"{100 * value:.3g} %"


def say(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {text}", file=sys.stderr)
