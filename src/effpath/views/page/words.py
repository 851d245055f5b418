"""Numbers and lists in plain words, for pages."""

from __future__ import annotations

import math
from collections.abc import Sequence

DASH = "–"


def number(value: float, digits: int = 3) -> str:
    """Return a number with fixed digits, a dash for NaN.

    >>> number(0.98765), number(float("nan"))
    ('0.988', '–')
    """
    if math.isnan(value):
        return DASH
    return f"{value:.{digits}f}".replace("-", "−").replace("inf", "∞")


def percent(value: float, digits: int = 1) -> str:
    """Return a share as a percentage, a dash for NaN.

    >>> percent(0.1234)
    '12.3\u202f%'
    """
    return DASH if math.isnan(value) else f"{100 * value:.{digits}f}\u202f%"


def count(value: int) -> str:
    """Return a whole number with its thousands separated."""
    return f"{value:,}".replace(",", "\u202f")


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, a dash for NaN.

    >>> signed(0.256), signed(-1.0)
    ('+0.26', '−1.00')
    """
    return ("+" if value > 0 else "") + number(value + 0.0, digits)


def listing(names: Sequence[str]) -> str:
    """Return names as in a sentence.

    >>> listing(["FGSM", "BIM", "CWL2"])
    'FGSM, BIM and CWL2'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def title_of(label: int, names: Sequence[str]) -> str:
    """Return a class with its name, where it has one of its own.

    >>> title_of(1, ["cat", "dog"]), title_of(1, ["0", "1"]), title_of(1, [])
    ('1 (dog)', '1', '1')
    """
    name = names[label] if label < len(names) else ""
    return str(label) if name in ("", str(label)) else f"{label} ({name})"
