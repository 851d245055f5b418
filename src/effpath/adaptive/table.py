"""Every adaptive attack with its defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from effpath.adaptive import methods
from effpath.adaptive.search import Search
from effpath.attacks.spec import Settings
from effpath.errors import OptionError

CHOICES = {"norm": ("Linf", "L2"), "distance": ("L2", "cosine")}
FROM_ZERO = ("layers",)  # whole numbers of which 0 means all


@dataclass(frozen=True)
class AdaptiveSpec:
    """One line of `ADAPTIVE`.

    Attributes:
        name: of the attack.
        settings: defaults; their types are the types wanted.
        run: proposes candidates to the search.
        gradients: whether it follows the surrogate's suspicion.
        guided: whether it needs clean images of other classes.
        bounded: whether it aims at the bound, so that each bound takes a run of its own.
    """

    name: str
    settings: Settings
    run: Callable[[Search, Settings], None]
    gradients: bool = True
    guided: bool = False
    bounded: bool = True

    def merged(self, settings: Settings | None) -> dict[str, Any]:
        """The defaults overridden by ``settings``; `OptionError` for an unknown name or a wrong value."""
        merged = dict(self.settings)
        for key, value in (settings or {}).items():
            if key not in merged:
                raise OptionError(f"{self.name} has no setting {key!r}; it has: {', '.join(merged)}")
            merged[key] = self._checked(key, value)
        return merged

    def _checked(self, key: str, value: Any) -> Any:
        default = self.settings[key]
        if key in CHOICES:
            if value not in CHOICES[key]:
                raise OptionError(f"{self.name}: setting {key}: expected one of {CHOICES[key]}; got {value!r}")
            return value
        if isinstance(default, tuple):
            if not isinstance(value, (tuple, list)) or not value:
                raise OptionError(f"{self.name}: setting {key}: expected numbers, at least one; got {value!r}")
            return tuple(self._number(key, one, type(default[0])) for one in value)
        return self._number(key, value, type(default))

    def _number(self, key: str, value: Any, kind: type) -> Any:
        least = 0 if isinstance(self.settings[key], float) or key in FROM_ZERO else 1
        if kind is int and type(value) is int and value >= least:
            return value
        if kind is float and type(value) in (int, float) and value >= 0 and math.isfinite(value):
            return float(value)
        wanted = f"a whole number of at least {least}" if kind is int else "a finite number of at least 0"
        raise OptionError(f"{self.name}: setting {key}: expected {wanted}; got {value!r}")


_DESCENT = {"norm": "Linf", "steps": 40, "rel_stepsize": 0.3, "judge_every": 1}
_SLOPES = {**_DESCENT, "layers": 0, "temperature": 0.1, "confidence": 0.5, "refresh": 1}

_SPECS = [
    AdaptiveSpec(
        "mimic",
        {**_DESCENT, "layers": (1, 2, 3), "mimics": 5, "distance": "L2"},
        methods.mimic,
        gradients=False,
        guided=True,
    ),
    AdaptiveSpec("surrogate", {**_SLOPES, "tradeoffs": (0.1, 0.3, 1.0)}, methods.surrogate),
    AdaptiveSpec("orthogonal_pgd", {**_SLOPES, "restarts": 2}, methods.orthogonal_pgd),
    AdaptiveSpec("selective_pgd", {**_SLOPES, "restarts": 2}, methods.selective_pgd),
    AdaptiveSpec(
        "black_box",
        {"norm": "Linf", "steps": 20, "gradient_steps": 50},
        methods.black_box,
        gradients=False,
        guided=True,
        bounded=False,
    ),
]

ADAPTIVE: dict[str, AdaptiveSpec] = {spec.name: spec for spec in _SPECS}
"""Name → attack."""
