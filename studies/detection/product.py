"""The kinds that combine the signs of a profile of cost, as detectors to be judged: what users get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from detection.signs import SAYS, SIGNS
from effpath.detect import make_classifier
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.signs.profiles import PROFILES


def shipped(arrays: Mapping[str, np.ndarray]) -> dict[str, Entrant]:
    """Return these kinds by name, where the signs were measured; they are fitted on clean images alone."""
    if SIGNS not in arrays:
        return {}
    return {name: Entrant(reader(profile.says), partial(_made, name)) for name, profile in PROFILES.items()}


def _made(kind: str, seed: int) -> Any:
    return make_classifier(kind, seed=seed)


def reader(says: Sequence[str]) -> Callable[[Group], np.ndarray]:
    """Return what reads the columns of some signs."""
    columns = [SAYS.index(title) for title in says]
    return lambda group: group.arrays[SIGNS][:, columns]
