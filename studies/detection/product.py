"""The kinds that combine the signs of a profile of cost, as detectors to be judged: what users get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from detection.signs import SAYS, SIGNS
from effpath.detect import make_classifier, suspicion
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.signs.profiles import PROFILES


class Weighed(ClassifierMixin, BaseEstimator):
    """A kind that is fitted on the clean rows; the attacked rows weigh its signs, where they are heard."""

    def __init__(self, kind: str, *, heard: bool = True) -> None:
        self.kind = kind
        self.heard = heard

    def fit(self, X: Any, y: Any) -> Weighed:
        self.classes_ = np.array([0, 1])
        clean = np.asarray(y) == 0
        self.detector_ = make_classifier(self.kind).fit(X[clean])
        if self.heard and not clean.all():
            self.detector_[-1].reweigh(self.detector_[:-1].transform(X), y)
        return self

    @property
    def weights_(self) -> np.ndarray:
        """What each sign counts, [signs]."""
        found: np.ndarray = self.detector_[-1].weights_
        return found

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the suspicion [n]."""
        return suspicion(self.detector_, X)


def shipped(arrays: Mapping[str, np.ndarray]) -> dict[str, Entrant]:
    """Return these kinds by name, where the signs were measured; the attacks that are seen weigh their signs."""
    if SIGNS not in arrays:
        return {}
    return {name: entrant(name, profile.says) for name, profile in PROFILES.items()}


def entrant(kind: str, says: Sequence[str], *, heard: bool = True) -> Entrant:
    """Return a kind that reads some signs, all of its own or fewer; attacks weigh them, if they are heard."""
    return Entrant(reader(says), partial(_made, kind, heard))


def reader(says: Sequence[str]) -> Callable[[Group], np.ndarray]:
    """Return what reads the columns of some signs."""
    columns = [SAYS.index(title) for title in says]
    return lambda group: group.arrays[SIGNS][:, columns]


def _made(kind: str, heard: bool, seed: int) -> Weighed:
    return Weighed(kind, heard=heard)
