"""Attacks that fool a classifier, so that detection has something to detect.

BIM, PGD, DeepFool and C&W are Foolbox's (``pip install 'effpath[attacks]'``); importing this package does not
import it.
"""

from __future__ import annotations

from effpath.attacks.adversarial_set import AdversarialSet, Norms
from effpath.attacks.runner import attack
from effpath.attacks.spec import AttackSpec
from effpath.attacks.table import ATTACKS
from effpath.attacks.training import train_patch

__all__ = ["ATTACKS", "AdversarialSet", "AttackSpec", "Norms", "attack", "train_patch"]
