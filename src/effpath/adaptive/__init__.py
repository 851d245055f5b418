"""Attacks by one who knows the network, the class paths and the detector: what the detector stops, and what not.

Every candidate is judged by the detector itself; what gradients are taken of is only a guide (`soft`, `slopes`).
"""

from __future__ import annotations

from effpath.adaptive.methods import ADAPTIVE
from effpath.adaptive.patch import PatchSettings, passing, train_aware_patch
from effpath.adaptive.result import AdaptiveResult, SuccessRate, success_rates, within
from effpath.adaptive.runner import adaptive_attack, adaptive_curve
from effpath.adaptive.search import Victim

__all__ = [
    "ADAPTIVE",
    "AdaptiveResult",
    "PatchSettings",
    "SuccessRate",
    "Victim",
    "adaptive_attack",
    "adaptive_curve",
    "passing",
    "success_rates",
    "train_aware_patch",
    "within",
]
