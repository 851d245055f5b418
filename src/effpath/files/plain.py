"""Values as text: JSON that every parser accepts, and percentages in the one form that everything has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

DIGITS = 6  # of a percentage, behind the point, that is just below 100


def json_of(value: Any) -> str:
    """Return a value as JSON; NaN and infinities, which JSON does not have, become null."""
    return json.dumps(finite(value), indent=1, allow_nan=False)


def percent(share: float) -> str:
    """Return a share as a percentage of three digits, a dash for NaN; what is not all is never 100 %.

    Example:
        >>> percent(0.1234), percent(0.37), percent(0.000261), percent(1.0), percent(0.99996)
        ('12.3 %', '37 %', '0.0261 %', '100 %', '99.996 %')
    """
    if not math.isfinite(share):
        return "–"
    value = 100 * share
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    while digits < DIGITS and share < 1 and round(value, digits) >= 100:
        digits += 1
    text = f"{value:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


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
