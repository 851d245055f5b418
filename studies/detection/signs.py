"""Joint surprise with what rivals measure as further signs; see `studies/further_signs.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from sklearn.pipeline import make_pipeline

from effpath.detect import JointSurprise, make_classifier
from effpath.detect.classifiers import reading_of
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.scoring import FloatArray, SurpriseScore
from rivals import entrants

KIND = "surprise"
FLOOR = 0.1  # what a sign counts at least where weights are learned


class PathlessScore(SurpriseScore):
    """The two signs that look at paths never surprise."""

    def surprises(self, X: FloatArray) -> FloatArray:
        found = super().surprises(X)
        found[:, :2] = 0
        return found


class WithoutPaths(JointSurprise):
    """The same without the two signs that look at paths."""

    def as_score(self) -> PathlessScore:
        return PathlessScore(**vars(super().as_score()))


def signs_among(measured: Collection[str]) -> dict[str, Entrant]:
    """Return those of the measured rivals that learn nothing from attacks."""
    return {name: rival for name, rival in entrants(measured).items() if rival.make is None}


def with_signs(
    signs: Sequence[Entrant], *, floor: float = 1.0, make: Callable[..., JointSurprise] = JointSurprise
) -> Entrant:
    """Return joint surprise that reads the signs as its last columns; what is missing is filled in as without."""

    def read(group: Group) -> np.ndarray:
        return np.column_stack([reading_of(KIND).columns(group.features), *(rival.read(group) for rival in signs)])

    return Entrant(
        read,
        lambda seed: make_pipeline(make_classifier(KIND, seed=seed)[0], make(further=len(signs), floor=floor)),
    )
