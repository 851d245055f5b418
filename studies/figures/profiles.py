"""The profiles of cost beside every rival, weighed by attacks or fitted on clean images alone, and what paths add.

Signs are combined as `effpath.detect.CombinedSurprise` does, by its usual rule; those of `PROPOSED`, which no kind
has yet, by the weighted sum. *Weighed* are those whose weights are learned from the seen attacks of the training
part; they and the thresholds are fixed as for every other detector. Of each
profile the same is judged without what looks at paths or at forward sets, so that the difference, paired over the
same resamples, is what these add at the cost of the rest. *One attack* tells what is lost where the weights are
learned from one seen attack alone, as a mean over these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.impute import SimpleImputer

from detection.contest import contest, counted
from detection.judge import Protocol, Resampled, interval, intervals, judge, settings
from detection.product import reader
from detection.seen import Seen
from detection.signs import PROPOSED
from drawing import Panel, Series
from effpath.detect import CombinedSurprise
from effpath.detect.evaluate import Entrant
from effpath.detect.signs.profiles import PROFILES, Profile
from rivals import entrants
from sources import Row

JUDGED = {**PROFILES, "proposed": PROPOSED}
BEST = "proposed"  # of ours, the one that is compared with each rival
PATHS = frozenset({
    "forward sets", "forward typicality", "forward margin", "early similarity", "margin", "typicality",
    "path size", "effort", "cancellation", "neighbours",
})  # fmt: skip
"""Names of the signs that look at effective paths or at forward sets."""
MINIMAL = ("FGSM", "BIM", "DeepFool", "JSMA", "CWL2")
KINDS: dict[str, Callable[[str], bool]] = {  # of attacks, by the name of the row
    "minimal": lambda name: (
        name.startswith(("FGSM", "BIM", "DeepFool", "JSMA", "CWL2")) and "confidence" not in name
    ),
    "strong": lambda name: name.startswith(("PGD", "APGD", "AutoAttack")) or "confidence" in name,
    "patches": lambda name: name.startswith("Patch"),
    "universal, transferred": lambda name: name.startswith(("Universal", "Transfer")),
    "noise alone": lambda name: name in ("Random", "Gaussian"),
}


class Weighed(ClassifierMixin, BaseEstimator):
    """Combined surprise, fitted on the clean rows; the attacked rows weigh its signs, where they are heard."""

    def __init__(self, heard: bool = True, rule: str = "truncated") -> None:
        self.heard = heard
        self.rule = rule

    def fit(self, X: Any, y: Any) -> Weighed:
        self.classes_ = np.array([0, 1])
        clean = X[np.asarray(y) == 0]
        self.fill_ = SimpleImputer(strategy="median", keep_empty_features=True).fit(clean)
        self.combined_ = CombinedSurprise(rule=self.rule).fit(self.fill_.transform(clean))
        if self.heard:
            self.combined_.reweigh(self.fill_.transform(X), np.asarray(y))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the suspicion [n]."""
        found: np.ndarray = -self.combined_.score_samples(self.fill_.transform(X))
        return found


def says_of(profile: Profile, *, paths: bool = True) -> list[str]:
    """Return what the signs of a profile say, with those that look at paths or without them."""
    return [said for sign in profile.signs if paths or sign.name not in PATHS for said in sign.says]


def combined(name: str, *, paths: bool = True, heard: bool = True) -> Entrant:
    """Return a profile's combination of signs, whose weights attacks teach, if they are heard."""
    rule = "fisher" if name == "proposed" else "truncated"
    return Entrant(reader(says_of(JUDGED[name], paths=paths)), lambda seed: Weighed(heard, rule))


def measure(seen: Seen) -> Row:
    """Judge every profile, weighed and clean alone, with paths and without, beside every rival."""
    rivals = entrants(seen.groups["clean"].arrays)
    ours = {name: combined(name) for name in JUDGED}
    ours |= {f"{name}, clean alone": combined(name, heard=False) for name in JUDGED}
    ours |= {f"{name} without paths": combined(name, paths=False) for name in JUDGED}
    judged = judge(seen, Protocol(("surprise",), {**rivals, **ours}, unseen=seen.unseen))
    names = [group.name for group in seen.attacks]
    aucs = judged.aucs()
    cells = {
        name: {"auc": aucs[BEST][name], "tpr": interval(judged.tpr[BEST][0.05][name]), **cell}
        for name, cell in contest(judged, BEST, seen, apart=ours).items()
    }
    by_rival = {name: round(float(judged.mean[name][0]), 4) for name in judged.auc if name not in ours}
    best = max(by_rival, key=lambda name: by_rival[name])
    return {
        "settings": settings(seen),
        "signs": {name: [sign.name for sign in profile.signs] for name, profile in JUDGED.items()},
        "costs": {name: {"passes": each.passes, "walks": each.walks} for name, each in JUDGED.items()},
        "tested": {name: len(judged.evaluations[0].test[name]) for name in names},
        "detectors": {name: {"fpr": _alarms(judged, name), "auc": aucs[name]} for name in ours},
        "rivals": by_rival,
        "best_rival": best,
        "beyond_best_rival": interval(judged.mean[BEST] - judged.mean[best]),
        "kinds": counted(cells),
        "cells": cells,
        "by_kind": {
            name: {kind: interval(values) for kind, values in _by_kind(judged, name, names).items()}
            for name in (*ours, "surprise", best)
        },
        "added_by_paths": {
            name: {
                kind: interval(values - _by_kind(judged, f"{name} without paths", names)[kind])
                for kind, values in _by_kind(judged, name, names).items()
            }
            for name in JUDGED
        },
        "least_beyond_log_odds": _least(judged, names),
        "one_attack": one_attack(seen, judged),
        "weights": {name: _weights(judged, name) for name in JUDGED},
    }  # fmt: skip


def one_attack(seen: Seen, judged: Resampled) -> Row:
    """Return what each profile loses where it learns from one seen attack, over all attacks; mean over these."""
    trained = [group.name for group in seen.attacks if group.name not in seen.unseen]
    names = [group.name for group in (*seen.attacks, *seen.floats)]
    means: dict[str, list[np.ndarray]] = {name: [] for name in JUDGED}
    for one in trained:
        others = {name: combined(name) for name in JUDGED}
        unseen = [name for name in names if name != one]
        alone = judge(seen, Protocol((), others, unseen=unseen, baselines=False))
        for name in JUDGED:
            means[name].append(alone.mean[name])
    return {
        "attacks": trained,
        "loss": intervals({
            name: judged.mean[name] - np.mean(values, axis=0) for name, values in means.items() if values
        }),
    }  # fmt: skip


def _by_kind(judged: Resampled, detector: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the mean AUC over the attacks of each kind, [1 + resamples], and over all."""
    found = {"all": np.mean([judged.auc[detector][name] for name in names], axis=0)}
    for kind, belongs in KINDS.items():
        members = [judged.auc[detector][name] for name in names if belongs(name)]
        if members:
            found[kind] = np.mean(members, axis=0)
    return found


def _alarms(judged: Resampled, detector: str) -> dict[str, float]:
    return {str(rate): round(value, 4) for rate, value in judged.false_alarms[detector].items()}


def _least(judged: Resampled, names: Sequence[str]) -> Row:
    """Return where the compared profile is furthest below log odds on both sides, if it is below anywhere."""
    odds = judged.auc.get("log odds, both sides")
    if odds is None:
        return {}
    beyond = {name: float(judged.auc[BEST][name][0] - odds[name][0]) for name in names}
    least = min(beyond, key=lambda name: beyond[name])
    return {"attack": least, "beyond": round(beyond[least], 4)}


def _weights(judged: Resampled, name: str) -> dict[str, float]:
    """Return what each sign counts, mean over the splits; the largest of each split is 1."""
    weights = [split.classifiers[name].combined_.weights_ for split in judged.evaluations]
    return dict(zip(says_of(JUDGED[name]), np.mean(weights, 0).round(3).tolist(), strict=True))


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC by kind of attack of each profile, with paths and without, beside joint surprise."""
    found = []
    for name in table["signs"]:
        shown = {"without paths": f"{name} without paths", "with paths": name, "joint surprise": "surprise"}
        kinds = list(table["by_kind"][name])
        drawn = [Series(label, [table["by_kind"][each][kind] for kind in kinds]) for label, each in shown.items()]
        found.append(Panel(name, drawn, kinds, network, axes={"xlabel": "AUC, mean over attacks"}))
    return found
