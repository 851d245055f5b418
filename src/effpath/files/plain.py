"""Values as JSON that every parser accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_of(value: Any) -> str:
    """Return a value as JSON; NaN and infinities, which JSON does not have, become null."""
    return json.dumps(finite(value), indent=1, allow_nan=False)


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
