"""Every adaptive attack with its defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from effpath.adaptive import methods
from effpath.adaptive.search import Search
from effpath.attacks.spec import Settings, merged_settings


@dataclass(frozen=True)
class AdaptiveSpec:
    """One line of `ADAPTIVE`.

    Attributes:
        name: of the attack.
        settings: defaults; their types are the expected types.
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
        return merged_settings(self.name, self.settings, settings)


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
