"""What is kept of the estimators that can be saved: plain arrays and numbers, and the formula that is of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from effpath.detect.scoring import CleanScore, CombinedScore, JointScore, Score, SurpriseScore
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.stored import stored_array
from effpath.files.sealed import SealedFile


class Learned(NamedTuple):
    """What an estimator learned, by attribute, and what follows from that.

    Attributes:
        score: gives the formula, from an object with these attributes and the estimator's parameters.
        reads: what the formula is of: a name of `READINGS`.
        arrays: with their number of dimensions.
        numbers: plain ones.
        parts: estimators inside it, with their kind.
    """

    score: Callable[[Any], Score]
    reads: str
    arrays: Mapping[str, int]
    numbers: tuple[str, ...]
    parts: Mapping[str, str]


_JOINT = {"classes_": 1, "coef_": 1, "omega_": 1, "omega_rank2_": 1}
_SURPRISE = {"classes_": 1, "clean_": 2, "edge_": 1, "excess_": 1, "weights_": 1}
_COMBINED = {"clean_": 2, "excess_": 1, "weights_": 1}
_SUMS = {"similarity_": "linear", "margin_": "linear"}
SAVED = {
    "linear": Learned(JointScore.of, "similarities", _JOINT, ("intercept_", "n_features_in_"), {}),
    "clean": Learned(CleanScore.of, "similarities", {"reference_": 2}, ("offset_", "n_features_in_"), {}),
    "surprise": Learned(SurpriseScore.of, "margins", _SURPRISE, ("usual_", "n_features_in_"), _SUMS),
    **{
        name: Learned(CombinedScore.of, name, _COMBINED, ("scale_", "offset_", "n_features_in_"), {})
        for name in PROFILES
    },
}
"""The kinds that can be saved; one more is a line here."""


def learned_in(kind: str, about: Mapping[str, Any], opened: SealedFile, at: str) -> SimpleNamespace:
    """Return what an estimator learned, and its parameters; its arrays lie below ``at``."""
    learned = SAVED[kind]
    return SimpleNamespace(
        **about["parameters"],
        **{name: stored_array(opened, f"{at}/{name}", dimensions) for name, dimensions in learned.arrays.items()},
        **{name: about["numbers"][name] for name in learned.numbers},
        **{
            name: learned_in(inner, about["parts"][name], opened, f"{at}/{name}")
            for name, inner in learned.parts.items()
        },
    )
