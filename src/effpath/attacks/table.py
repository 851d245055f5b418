"""Every attack with its defaults; reading the table is reading what is on offer."""

from __future__ import annotations

from effpath.attacks import methods
from effpath.attacks.spec import AttackSpec

_SPECS = [
    AttackSpec("FGSM", "Linf", {"epsilons": 1000, "max_epsilon": 1.0}, methods.fgsm),
    AttackSpec(
        "BIM",
        "Linf",
        {"epsilons": 100, "max_epsilon": 1.0, "steps": 10, "rel_stepsize": 0.2, "random_start": False},
        methods.bim,
        library="foolbox",
    ),
    AttackSpec(
        "DeepFool",
        "L2",
        {"steps": 100, "candidates": 10, "overshoot": 0.02},
        methods.deepfool,
        library="foolbox",
    ),
    AttackSpec(
        "CWL2",
        "L2",
        {
            "steps": 500,
            "binary_search_steps": 9,
            "stepsize": 0.01,
            "confidence": 0.0,
            "initial_const": 1e-3,
            "abort_early": True,
        },
        methods.cwl2,
        library="foolbox",
    ),
    AttackSpec("Random", None, {}, methods.uniform, from_clean=False),
    AttackSpec("RandomGaussian", None, {"mean": 0.5, "std": 0.25}, methods.gaussian, from_clean=False),
]

ATTACKS: dict[str, AttackSpec] = {spec.name: spec for spec in _SPECS}
"""Name → attack."""
