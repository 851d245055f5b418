"""How many images a detector needs for training (Fig. 9, 18).

A share of the source images trains the detectors, with all their attacked versions that may be learned from. A
fifth of the images fixes thresholds and 30 % test, the same ones for every share; smaller shares are parts of
larger ones. A share of fewer than five images is left out, and an attack of fewer than twenty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection.judge import SEEDS, Protocol, interval, judge_groups
from detection.seen import Seen
from drawing import COLOURS, MARKED, Panel, Series
from effpath.errors import InputError
from rivals import entrants
from sources import Row

KINDS = ("linear", "surprise", "forest")
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
HELD = {"test": 0.3, "calibrate": 0.2}  # drawn first, so that they are the same for every share
FEWEST = 5  # images that a detector is trained on
FEWEST_ATTACKED = 20  # images of an attack, so that the test part has some of them
MEANS = {"mean": "all attacks", "seen": "attacks of the training", "unseen": "attacks not in training"}


def measure(seen: Seen, shares: Sequence[float] = SHARES) -> Row:
    """Measure our detectors and CDRP's over the share of the sources that they are trained on."""
    clean = seen.groups["clean"]
    sources, others = len(clean.source), entrants({"CDRP"} & set(clean.arrays))
    attacks = [group for group in seen.attacks if len(group.source) >= FEWEST_ATTACKED]
    parts: dict[str, list[str]] = {}  # attacks that detectors learn from, and the others
    for group in attacks:
        parts.setdefault("unseen" if group.name in seen.unseen else "seen", []).append(group.name)
    found: Row = {}
    left_out: Row = {
        group.name: f"{len(group.source)} images are fewer than {FEWEST_ATTACKED}"
        for group in seen.attacks
        if group not in attacks
    }
    for share in shares:
        if round(share * sources) < FEWEST:
            left_out[str(share)] = f"{share:.0%} of {sources} images are fewer than {FEWEST}"
            continue
        protocol = Protocol(KINDS, others, seen.unseen, fractions={**HELD, "train": share})
        try:
            judged = judge_groups(clean, attacks, protocol)
        except InputError as error:  # no attacked image among so few of the clean ones
            left_out[str(share)] = str(error)
            continue
        aucs = judged.aucs()
        for part, names in parts.items():
            for detector, auc in judged.auc.items():
                aucs[detector][part] = interval(np.mean([auc[name] for name in names], axis=0))
        found[str(share)] = {"trained": judged.evaluations[0].sizes["train"], "auc": aucs}
    settings = {**HELD, "seeds": list(SEEDS), "unseen": list(seen.unseen)}
    return {"settings": settings, "shares": found, "left_out": left_out}


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC over the share: of all attacks, of those of the training, of the others, if any."""
    shares = table["shares"]
    found = []
    for part, title in MEANS.items():
        drawn = [
            Series(detector, values, style=MARKED)
            for detector in COLOURS
            if any(values := [result["auc"].get(detector, {}).get(part) for result in shares.values()])
        ]
        if not drawn:
            continue
        names = [f"{float(share):.0%}" for share in shares]
        axes = {"xlabel": "share of the images that detectors are trained on", "ylabel": "AUC"}
        found.append(Panel(f"{network}, {title}", drawn, names, network, axes=axes))
    return found
