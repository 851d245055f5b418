"""The rivals of detection, trained for fewer steps than in studies where training is long."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rivals import RIVALS
from rivals.magnet import MagNet
from rivals.pid import Inconsistency

STEPS = {"MagNet": partial(MagNet.fit, steps=20), "PID": partial(Inconsistency.fit, steps=60)}
QUICK = {name: replace(rival, fit=STEPS.get(name, rival.fit)) for name, rival in RIVALS.items()}
