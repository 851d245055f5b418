"""Who is best in a cell, one attack on one network: paired, with Holm over the cells of the network.

A cell is *few* where fewer than `FEW` images fooled the network, at the *ceiling* where the best of the others has
an AUC of at least `CEILING`, and *open* otherwise. They are counted apart. An attack whose images are not rounded
is no cell. Nothing is rounded before it is compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from detection.judge import Resampled, interval
from detection.seen import Seen
from sources import Row

CEILING = 0.995
FEW = 50
LEVEL = 0.05
KINDS = ("open", "ceiling", "few")
SOFTMAX = "max softmax"


def p_value(difference: np.ndarray) -> float:
    """Return how often chance alone makes a difference as large, both sides together.

    Args:
        difference: of two detectors on the same images, of the sample and of each resample, [1 + resamples].

    Twice the share of resamples on the rarer side of 0, the sample among them, with ties on both sides.
    """
    drawn = difference[1:][~np.isnan(difference[1:])]
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values that hold together, by Holm's step-down: the k-th smallest of m times m + 1 − k."""
    adjusted, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def kind_of(successes: int, best: float) -> str:
    """Return which kind of cell this is; ``best`` is the AUC of the best of the others."""
    return "few" if successes < FEW else "ceiling" if best >= CEILING else "open"


def best_of(judged: Resampled, attack: str, apart: Collection[str]) -> tuple[str, float]:
    """Return the detector, of those not set apart, that tells an attack best, and its AUC."""
    rest = {name: float(found[attack][0]) for name, found in judged.auc.items() if name not in apart}
    best = max(rest, key=lambda name: rest[name])
    return best, rest[best]


def contest(judged: Resampled, detector: str, seen: Seen, *, apart: Collection[str]) -> dict[str, Row]:
    """Compare a detector with the best of those not set apart, and with the maximum softmax, cell by cell.

    ``within``: the best one is not better, or by no more than chance: Holm's p-value of the difference, over the
    cells of the network, is above `LEVEL`. ``below_softmax`` likewise.
    """
    found: dict[str, Row] = {}
    beyond: dict[str, dict[str, np.ndarray]] = {"best": {}, "softmax": {}}
    for name in (group.name for group in seen.attacks):
        best, its = best_of(judged, name, apart)
        own, successes = judged.auc[detector][name], seen.successes(name)
        beyond["best"][name] = own - judged.auc[best][name]
        beyond["softmax"][name] = own - judged.auc[SOFTMAX][name]
        found[name] = {
            "best": best, "its_auc": round(its, 4), "successes": successes, "kind": kind_of(successes, its),
        }  # fmt: skip
    for other, lost in (("best", "within"), ("softmax", "below_softmax")):
        chance = holm({name: p_value(difference) for name, difference in beyond[other].items()})
        for name, difference in beyond[other].items():
            worse = bool(difference[0] < 0 and chance[name] <= LEVEL)
            found[name] |= {
                f"beyond_{other}": interval(difference), f"p_{other}": round(chance[name], 4),
                lost: worse if other == "softmax" else not worse,
            }  # fmt: skip
    return found


def counted(cells: Mapping[str, Row]) -> dict[str, list[int]]:
    """Return in how many cells of each kind the detector is the best or within chance of it, and of how many."""
    kinds = {kind: [cell["within"] for cell in cells.values() if cell["kind"] == kind] for kind in KINDS}
    return {kind: [sum(within), len(within)] for kind, within in kinds.items()}
