"""Trained on one attack, tested on all others (Fig. 10, 19).

The loss is AUC after training on all attacks, the tested one among them, less AUC after training on one other
attack; the paper's claim is at most 0.03. Attacks of which a training part has fewer than three images are
tested only. Once over the paper's five attacks, which all stop just over the border, and once over all attacks
that start from an image, those that other studies keep out of training too. *weighed* is joint surprise with all
further signs of `figures.further_signs`, whose weights are learned from attacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection.judge import FRACTIONS, SEEDS, Protocol, interval, intervals, judge_groups
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect.evaluate import Group
from effpath.detect.splits import split_sources
from figures.further_signs import FLOOR, signs_among, with_signs
from rivals import entrants
from sources import Row

KINDS = ("linear", "surprise")
RIVALS = ("CDRP, linear", "CDRP, forest")
MINIMAL = ("FGSM", "BIM", "DeepFool", "JSMA", "CWL2")
WEIGHED = "weighed"
CLAIM = 0.03
FEWEST = 3  # images of an attack in the training part of every split, without which nothing is trained on it alone


def measure(seen: Seen) -> Row:
    """Measure the loss over the paper's attacks and over all."""
    clean = seen.groups["clean"]
    with_source = [group for group in seen.attacks if (group.source >= 0).any()]
    sets = {"minimal": [group for group in with_source if group.name in MINIMAL], "every": with_source}
    found, only_tested = {}, set()
    for name, attacks in sets.items():
        single = [group.name for group in attacks if trained_images(clean, group) >= FEWEST]
        only_tested |= {group.name for group in attacks} - set(single)
        if single and len(attacks) > 1:
            found[name] = transfer(clean, attacks, single)
    settings = {"fractions": list(FRACTIONS), "seeds": list(SEEDS), "claim": CLAIM}
    return {"settings": settings, "only_tested": sorted(only_tested), "sets": found}


def transfer(clean: Group, attacks: Sequence[Group], single: Sequence[str]) -> Row:
    """Return the AUC of each training, on all attacks and on each single one, and the loss of training on one."""
    names = [group.name for group in attacks]
    rivals = {name: rival for name, rival in entrants(clean.arrays).items() if name in RIVALS}
    if signs := signs_among(clean.arrays):
        rivals[WEIGHED] = with_signs(list(signs.values()), floor=FLOOR)
    auc = {}
    for trained in ("all", *single):
        unseen = [name for name in names if trained not in ("all", name)]
        auc[trained] = judge_groups(clean, attacks, Protocol(KINDS, rivals, unseen, baselines=False)).auc
    result: Row = {}
    for detector, whole in auc["all"].items():
        loss = {}
        for trained in single:
            lost = [whole[name] - auc[trained][detector][name] for name in names if name != trained]
            loss[trained] = np.mean(lost, axis=0)
        mean = interval(np.mean(list(loss.values()), axis=0))
        result[detector] = {
            "auc": {trained: intervals(aucs[detector]) for trained, aucs in auc.items()},
            "loss": intervals(loss),
            "mean_loss": mean,
            "met": bool(np.mean(list(loss.values()), axis=0)[0] <= CLAIM),
        }
    return result


def trained_images(clean: Group, group: Group) -> int:
    """Return how many images of an attack are in the training part of a split, of the split with the fewest."""
    parts = [split_sources(clean.source, fractions=FRACTIONS, seed=seed)["train"] for seed in SEEDS]
    return min(int(np.isin(group.source, clean.source[part]).sum()) for part in parts)


def panels(network: str, table: Row) -> list[Panel]:
    """Draw AUC over training (rows) and attack (columns), a line of matrices for each set of attacks."""
    found = []
    for name, detectors in table["sets"].items():
        for detector, result in detectors.items():
            drawn = [Series(trained, list(auc.values())) for trained, auc in result["auc"].items()]
            loss, low, high = result["mean_loss"]
            title = f"{network}, {name}, {detector}\nloss {loss:.3f} ({low:.3f} – {high:.3f})"
            worst = max(result["loss"], key=lambda trained: result["loss"][trained][0])
            words = [f"most {result['loss'][worst][0]:.3f} when trained on {worst}"]
            axes = {"ylabel": "" if detector != next(iter(detectors)) else "trained on"}
            row = f"{network}, {name}"
            found.append(Panel(title, drawn, list(result["auc"]["all"]), row, (0.5, 1), axes=axes, words=words))
    return found
