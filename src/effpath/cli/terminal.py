"""What a terminal can show: letters that its encoding lacks are spelled in others, and are never an error."""

from __future__ import annotations

import codecs
import sys
from typing import TextIO

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
