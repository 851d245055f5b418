"""Every attack with its defaults; reading the table is reading what is on offer."""

from __future__ import annotations

from effpath.attacks import methods
from effpath.attacks.patch import patch
from effpath.attacks.saliency import jsma
from effpath.attacks.spec import AttackSpec
from effpath.attacks.universal import universal

_LADDER = {"epsilons": 1000, "max_epsilon": 1.0}
_CARLINI_WAGNER = {
    "steps": 500,
    "binary_search_steps": 9,
    "stepsize": 0.01,
    "confidence": 0.0,
    "initial_const": 1e-3,
    "abort_early": True,
}

_SPECS = [
    AttackSpec("FGSM", "Linf", _LADDER, methods.fgsm),
    AttackSpec("FGSM_targeted", "Linf", _LADDER, methods.fgsm_targeted, targeting="each"),
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
    AttackSpec("JSMA", "L0", {"theta": 0.1, "changes": 7, "iterations": 2000, "weighted": False}, jsma),
    AttackSpec("CWL2", "L2", _CARLINI_WAGNER, methods.cwl2, library="foolbox"),
    AttackSpec("CWL2_targeted", "L2", _CARLINI_WAGNER, methods.cwl2_targeted, library="foolbox", targeting="each"),
    AttackSpec("CWL2_confidence", "L2", {**_CARLINI_WAGNER, "confidence": 14.0}, methods.cwl2, library="foolbox"),
    AttackSpec(
        "PGD",
        "Linf",
        {"epsilon": 8 / 255, "steps": 40, "rel_stepsize": 1 / 30, "random_start": True},
        methods.pgd,
        library="foolbox",
    ),
    AttackSpec(
        "Patch",
        None,
        {"scale": 0.3, "rotation": 22.5, "steps": 500, "stepsize": 0.05, "draws": 16},
        patch,
        targeting="one",
    ),
    AttackSpec("Universal", None, {"file": ""}, universal, files=("file",)),
    AttackSpec("Random", None, {}, methods.uniform, from_clean=False),
    AttackSpec("RandomGaussian", None, {"mean": 0.5, "std": 0.25}, methods.gaussian, from_clean=False),
]

ATTACKS: dict[str, AttackSpec] = {spec.name: spec for spec in _SPECS}
"""Name → attack."""
