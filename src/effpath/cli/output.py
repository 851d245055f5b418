"""What commands print: JSON that every reader takes, and tables that lose nothing."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Any) -> None:
    """Print a value as JSON; NaN and infinities, which JSON does not know, become null."""
    print(json.dumps(finite(value), indent=1, allow_nan=False))


def finite(value: Any) -> Any:
    """Return the value with None in the place of every NaN and infinity.

    Example:
        >>> finite({"auc": (0.5, float("nan")), "name": "inf"})
        {'auc': [0.5, None], 'name': 'inf'}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(own) for own in value]
    return value


def plain_console(width: int) -> Console:
    """Return a console on standard output that takes text as it is: [brackets] and :colons: mean nothing.

    Args:
        width: of what is no terminal, as a pipe or a log has no width of its own.
    """
    from rich.console import Console

    console = Console(file=sys.stdout, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = width
    return console


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: framed and as wide as the terminal, or, into a pipe, one whole line a row."""
    from rich.table import Table

    from effpath.cli.columns import table as aligned

    console = plain_console(80)
    if console.is_terminal:
        table = Table()
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    print(aligned(columns, rows, left=len(columns)))
