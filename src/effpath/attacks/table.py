"""Every attack with its defaults."""

from __future__ import annotations

from functools import partial

from effpath.attacks import methods
from effpath.attacks.apgd import apgd
from effpath.attacks.autoattack import autoattack
from effpath.attacks.patches import patch, patch_file
from effpath.attacks.saliency import jsma
from effpath.attacks.spec import ANY, AttackSpec
from effpath.attacks.square import square
from effpath.attacks.universal import universal

_FGSM = {"epsilons": 1000, "max_epsilon": 1.0}
_BIM = {"epsilons": 100, "max_epsilon": 1.0, "steps": 10, "rel_stepsize": 0.2, "random_start": False}
_PGD = {"epsilon": 8 / 255, "steps": 40, "rel_stepsize": 1 / 30, "random_start": True}
_DEEPFOOL = {"steps": 100, "candidates": 10, "overshoot": 0.02}
_CWL2 = {
    "steps": 500, "binary_search_steps": 9, "stepsize": 0.01, "confidence": 0.0, "initial_const": 1e-3,
    "abort_early": True,
}  # fmt: skip
_JSMA = {"theta": 0.1, "changes": 7, "iterations": 2000, "weighted": False}
_APGD = {"epsilon": 8 / 255, "steps": 100, "restarts": 1}
_SQUARE = {"epsilon": 8 / 255, "queries": 5000}
_AUTOATTACK = {"epsilon": 8 / 255, "steps": 100, "targets": 9, "queries": 5000}
_PASTED = {"scale": 0.3, "rotation": 22.5, "shape": "square", "target": ANY}
_PATCH = {**_PASTED, "cells": 0, "steps": 500, "stepsize": 0.05, "draws": 16}

_SPECS = (
    AttackSpec("FGSM", "Linf", _FGSM, methods.fgsm),
    AttackSpec("FGSM_targeted", "Linf", _FGSM, partial(methods.fgsm, targeted=True), targeting="each"),
    AttackSpec("BIM", "Linf", _BIM, methods.bim, library="foolbox"),
    AttackSpec("DeepFool", "L2", _DEEPFOOL, methods.deepfool, library="foolbox"),
    AttackSpec("JSMA", "L0", _JSMA, jsma),
    AttackSpec("CWL2", "L2", _CWL2, methods.cwl2, library="foolbox"),
    AttackSpec("CWL2_targeted", "L2", _CWL2, partial(methods.cwl2, targeted=True), "foolbox", targeting="each"),
    AttackSpec("CWL2_confidence", "L2", {**_CWL2, "confidence": 14.0}, methods.cwl2, library="foolbox"),
    AttackSpec("PGD", "Linf", _PGD, methods.pgd, library="foolbox"),
    AttackSpec("APGD", "Linf", _APGD, apgd),
    AttackSpec("Square", "Linf", _SQUARE, square),
    AttackSpec("AutoAttack", "Linf", _AUTOATTACK, autoattack),
    AttackSpec("Patch", None, _PATCH, patch, targeting="one"),
    AttackSpec("PatchFile", None, {"file": "", **_PASTED}, patch_file, files=("file",)),
    AttackSpec("Universal", None, {"file": ""}, universal, files=("file",)),
    AttackSpec("Random", None, {}, methods.uniform, from_clean=False),
    AttackSpec("RandomGaussian", None, {"mean": 0.5, "std": 0.25}, methods.gaussian, from_clean=False),
)

ATTACKS: dict[str, AttackSpec] = {spec.name: spec for spec in _SPECS}
"""Name → attack."""
