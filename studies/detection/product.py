"""The kinds that combine the signs of a profile of cost, as detectors to be judged: what users get.

The auxiliary network of the kind ``paired`` is the one that PID asks, so that it is judged where PID is, and what
PID measures is its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from detection.cases import Case
from detection.signs import SAYS, SIGNS
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.fitting import ATTACKED_WITH
from effpath.detect.signs.auxiliary import AuxiliaryNetwork
from effpath.detect.signs.profiles import PROFILES

PID = "PID"  # the rival
ALONE = [name for name, profile in PROFILES.items() if not profile.asks]  # kinds that ask no other network


def shipped(arrays: Mapping[str, np.ndarray]) -> dict[str, Entrant]:
    """Return these kinds by name, where the signs were measured; the attacks that are seen weigh their signs."""
    if SIGNS not in arrays:
        return {}
    known = PROFILES if PID in arrays else ALONE
    return {name: entrant(name, PROFILES[name].says) for name in known}


def entrant(kind: str, says: Sequence[str]) -> Entrant:
    """Return a kind that reads some signs, all of its own or fewer."""
    return Entrant.of_kind(kind, reader(says))


def alone(said: str) -> Entrant:
    """Return a sign by itself, by what it says: its value is the suspicion."""
    return Entrant(lambda group: reader([said])(group)[:, 0])


def weighed(case: Case, names: Iterable[str]) -> list[str]:
    """Return those of some groups that weigh the signs by default: seen attacks that `effpath fit` makes too."""
    planned = {name: case.attacks[name] for name in names if name in case.attacks}
    return [name for name, each in planned.items() if not each.unseen and each.attack in ATTACKED_WITH]


def reader(says: Sequence[str]) -> Callable[[Group], np.ndarray]:
    """Return what reads the columns of some signs."""

    def read(group: Group) -> np.ndarray:
        found = [
            group.arrays[PID] if title in AuxiliaryNetwork.says else group.arrays[SIGNS][:, SAYS.index(title)]
            for title in says
        ]
        return np.stack(found, axis=1)

    return read
