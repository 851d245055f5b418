"""The kinds that combine the signs of a profile of cost, as detectors to be judged: what users get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from detection.cases import Case
from detection.signs import SAYS, SIGNS
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.fitting import ATTACKED_WITH
from effpath.detect.signs.profiles import PROFILES


def shipped(arrays: Mapping[str, np.ndarray]) -> dict[str, Entrant]:
    """Return these kinds by name, where the signs were measured; the attacks that are seen weigh their signs."""
    if SIGNS not in arrays:
        return {}
    return {name: entrant(name, profile.says) for name, profile in PROFILES.items()}


def entrant(kind: str, says: Sequence[str]) -> Entrant:
    """Return a kind that reads some signs, all of its own or fewer."""
    return Entrant.of_kind(kind, reader(says))


def weighed(case: Case, names: Iterable[str]) -> list[str]:
    """Return those of some groups that weigh the signs by default: seen attacks that `effpath fit` makes too."""
    planned = {name: case.attacks[name] for name in names if name in case.attacks}
    return [name for name, each in planned.items() if not each.unseen and each.attack in ATTACKED_WITH]


def reader(says: Sequence[str]) -> Callable[[Group], np.ndarray]:
    """Return what reads the columns of some signs."""
    columns = [SAYS.index(title) for title in says]
    return lambda group: group.arrays[SIGNS][:, columns]
