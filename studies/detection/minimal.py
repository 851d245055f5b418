"""Whether an attack that looks for the smallest L2 comes as near as DeepFool does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detection.cases import Planned
from effpath.attacks import ATTACKS
from sources import Row

YARDSTICK = "DeepFool"
Sizes = Mapping[int, float]  # by clean image, L2 of what fooled the network


def minimal(sizes: Mapping[str, Sizes], attacks: Mapping[str, Planned]) -> dict[str, Row]:
    """Return, for each attack that minimises L2 towards any class, whether its changes are minimal.

    They are where their median L2 is not above DeepFool's on the same images, those that both fooled: DeepFool
    takes the first border that it crosses, so an attack that searches longer has to come at least as near. Images
    that can be saved are compared with such images, floats with floats. Nothing is said without a common image.
    """
    yardsticks = {planned.floats: name for name, planned in attacks.items() if planned.attack == YARDSTICK}
    found = {}
    for name, planned in attacks.items():
        its = sizes.get(yardsticks.get(planned.floats, ""), {})
        common = sorted(sizes.get(name, {}).keys() & its.keys())
        if searches(planned) and common:
            pair = [float(np.median([each[row] for row in common])) for each in (sizes[name], its)]
            found[name] = {"minimal": pair[0] <= pair[1], "l2_beside_deepfool": [round(each, 4) for each in pair]}
    return found


def searches(planned: Planned) -> bool:
    """Tell whether an attack, other than DeepFool, looks for the smallest L2 that changes the class."""
    spec = ATTACKS[planned.attack]
    confident = spec.merged(planned.settings).get("confidence", 0) > 0
    return spec.name != YARDSTICK and spec.norm == "L2" and spec.targeting is None and not confident
