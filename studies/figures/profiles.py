"""The profiles of cost beside every rival, weighed by attacks or fitted on clean images alone, and what paths add.

A profile's detector is the kind of its name, its weights as `effpath fit` makes them: from FGSM and PGD of the
training part. *All seen attacks* are those whose weights come from every attack that rivals learn from, *clean
alone* those to which every attack is unseen. Of each profile the same is judged without what looks at paths or at
forward sets, so that the difference, paired over the same resamples, is what these add at the cost of the rest.
*One attack* tells what is lost where the weights are learned from one seen attack alone, as a mean over these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from detection.contest import contest, counted
from detection.judge import Protocol, Resampled, interval, intervals, judge, settings
from detection.product import entrant, shipped, weighed
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.evaluate import Entrant
from effpath.detect.signs.profiles import PROFILES, Profile
from rivals import entrants
from sources import Row

BEST = DEFAULT_KIND  # of ours, the one that is compared with each rival
PATHS = frozenset({
    "forward sets", "forward typicality", "forward margin", "forward concentration", "early similarity", "margin",
    "typicality",
    "path size", "effort", "cancellation", "neighbours",
})  # fmt: skip
"""Names of the signs that look at effective paths or at forward sets."""
MINIMAL = ("FGSM", "BIM", "DeepFool", "JSMA", "CWL2")
KINDS: dict[str, Callable[[str], bool]] = {  # of attacks, by the name of the row
    "minimal": lambda name: name.startswith(MINIMAL) and "confidence" not in name,
    "strong": lambda name: name.startswith(("PGD", "APGD", "AutoAttack")) or "confidence" in name,
    "patches": lambda name: name.startswith("Patch"),
    "universal, transferred": lambda name: name.startswith(("Universal", "Transfer")),
    "noise alone": lambda name: name in ("Random", "Gaussian"),
}


def says_of(profile: Profile, *, paths: bool = True) -> list[str]:
    """Return what the signs of a profile say, with those that look at paths or without them."""
    return [said for sign in profile.signs if paths or sign.name not in PATHS for said in sign.says]


def taught(seen: Seen, others: Mapping[str, Entrant], attacks: Collection[str]) -> Resampled:
    """Judge detectors of ours that learn from these attacks alone, on all."""
    names = [group.name for group in (*seen.attacks, *seen.floats)]
    unseen = [name for name in names if name not in attacks]
    return judge(seen, Protocol((), others, unseen=unseen, baselines=False))


def together(judged: Resampled, other: Resampled) -> Resampled:
    """Return both, on the same images and resamples, as one; ``evaluations`` are the first's."""
    parts = ("auc", "tpr", "fpr", "false_alarms")
    return replace(judged, **{part: {**getattr(judged, part), **getattr(other, part)} for part in parts})


def measure(seen: Seen) -> Row:
    """Judge every profile, weighed and clean alone, with paths and without, beside every rival."""
    rivals = entrants(seen.groups["clean"].arrays)
    product = shipped(seen.groups["clean"].arrays)
    kinds = {name: PROFILES[name] for name in product}
    product |= {
        f"{name} without paths": entrant(name, says_of(profile, paths=False)) for name, profile in kinds.items()
    }
    all_seen, alone = (
        {f"{name}, {how}": product[name] for name in kinds} for how in ("all seen attacks", "clean alone")
    )
    ours = {**product, **all_seen, **alone}
    weighing = weighed(seen.case, [group.name for group in seen.attacks])
    made = taught(seen, product, weighing)
    judged = judge(seen, Protocol(("surprise",), {**rivals, **all_seen}, unseen=seen.unseen))
    for more in (made, taught(seen, alone, ())):
        judged = together(judged, more)
    names = [group.name for group in seen.attacks]
    aucs = judged.aucs()
    cells = {
        name: {"auc": aucs[BEST][name], "tpr": interval(judged.tpr[BEST][0.05][name]), **cell}
        for name, cell in contest(judged, BEST, seen, apart=ours).items()
    }
    by_rival = {name: round(float(judged.mean[name][0]), 4) for name in judged.auc if name not in ours}
    best = max(by_rival, key=lambda name: by_rival[name])
    return {
        "settings": {**settings(seen), "weighed": weighing, "compared": BEST},
        "signs": {name: [sign.name for sign in profile.signs] for name, profile in kinds.items()},
        "costs": {
            name: {"passes": each.passes, "walks": each.walks, "asks": each.asks} for name, each in kinds.items()
        },
        "tested": {name: len(judged.evaluations[0].test[name]) for name in names},
        "detectors": {name: {"fpr": _alarms(judged, name), "auc": aucs[name]} for name in ours},
        "rivals": by_rival,
        "best_rival": best,
        "beyond_best_rival": {name: interval(judged.mean[name] - judged.mean[best]) for name in kinds},
        "beyond_rivals": {
            name: {kind: interval(values) for kind, values in beyond(judged, BEST, name, names).items()}
            for name in by_rival
        },
        "kinds": counted(cells),
        "cells": cells,
        "by_kind": {
            name: {kind: interval(values) for kind, values in by_kind(judged, name, names).items()}
            for name in (*ours, "surprise", best)
        },
        "added_by_paths": {
            name: {
                kind: interval(values)
                for kind, values in beyond(judged, name, f"{name} without paths", names).items()
            }
            for name in kinds
        },
        "least_beyond_log_odds": _least(judged, names),
        "one_attack": one_attack(seen, judged),
        "weights": {name: _weights(made, name) for name in kinds},
    }  # fmt: skip


def one_attack(seen: Seen, judged: Resampled) -> Row:
    """Return what each profile loses where it learns from one seen attack, over all attacks; mean over these."""
    trained = [group.name for group in seen.attacks if group.name not in seen.unseen]
    product = shipped(seen.groups["clean"].arrays)
    alone = [taught(seen, product, [one]).mean for one in trained]
    loss = {name: judged.mean[name] - np.mean([mean[name] for mean in alone], axis=0) for name in product}
    return {"attacks": trained, "loss": intervals(loss)}


def by_kind(judged: Resampled, detector: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the mean AUC over the attacks of each kind, [1 + resamples], and over all."""
    found = {"all": np.mean([judged.auc[detector][name] for name in names], axis=0)}
    for kind, belongs in KINDS.items():
        members = [judged.auc[detector][name] for name in names if belongs(name)]
        if members:
            found[kind] = np.mean(members, axis=0)
    return found


def beyond(judged: Resampled, detector: str, other: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return how far a detector is ahead of another in each kind of attacks, [1 + resamples]."""
    others = by_kind(judged, other, names)
    return {kind: values - others[kind] for kind, values in by_kind(judged, detector, names).items()}


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
    weights = [split.classifiers[name][-1].weights_ for split in judged.evaluations]
    return dict(zip(PROFILES[name].says, np.mean(weights, 0).round(3).tolist(), strict=True))


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC by kind of attack of each profile, with paths and without, beside joint surprise."""
    found = []
    for name in table["signs"]:
        shown = {"without paths": f"{name} without paths", "with paths": name, "joint surprise": "surprise"}
        kinds = list(table["by_kind"][name])
        drawn = [Series(label, [table["by_kind"][each][kind] for kind in kinds]) for label, each in shown.items()]
        found.append(Panel(name, drawn, kinds, network, axes={"xlabel": "AUC, mean over attacks"}))
    return found
