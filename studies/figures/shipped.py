"""The detector that is shipped, on images made for one network, beside log odds on both sides, and without paths.

For networks of photographs, on which rivals take hours: the default kind looks at the clean images of a case and
at what each of its attacks made. FGSM and PGD of the training part weigh its signs, as `effpath fit` has them;
every other attack is unseen. What images are compared with comes from the case's training images. AUCs are means
over splits, with a 95 % interval over source images and patches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from detection.cases import Case
from detection.judge import FRACTIONS, SEEDS, Protocol, interval, judge_groups
from detection.making import Making, savable, thinned
from detection.product import weighed
from detection.seen import MISTAKES, Pixels
from drawing import Panel, Series
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.scoring import FloatArray
from effpath.detect.signs.collect import collect
from effpath.detect.signs.log_odds import log_odds
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.files.progress import track
from figures.profiles import says_of
from rivals.odds import BothSides
from sources import Row

LOG_ODDS, PATHLESS = "log odds, both sides", "without forward sets"


def measure(
    case: Case,
    *,
    images: int | None = None,
    gathered: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    seed: int = 0,
) -> Row:
    """Measure the default kind on one network.

    Args:
        case: what is attacked, with what.
        images: attacked images, with what was made of them, and as many others; None for all.
        gathered: these of the case's attacks; none for all.
        seeds: of the splits.
        seed: of training, images and attacks.
    """
    chosen = {name: planned for name, planned in case.attacks.items() if not gathered or name in gathered}
    making = Making(replace(case, attacks=chosen), seed)
    made, controls, about = making.made
    shown = thinned(savable(made, making.case), images)
    weighing = weighed(making.case, shown)
    reader = SignReader.of(PROFILES[DEFAULT_KIND], making.class_paths())
    with track(f"{len(making.train)} images, to compare others with") as progress:
        known = collect(
            making.graph, reader, making.train.images, making.train.labels,
            batch_size=case.batch, progress=progress,
        )  # fmt: skip
    clock = time.process_time()

    def look(name: str, pixels: Pixels) -> Group:
        with track(f"signs of {name}"):
            found = sign_features(making.graph, reader, pixels.images, reference=known, batch_size=case.batch)
        return Group(name, found, pixels.source, clusters=pixels.clusters)

    clean, *attacks = (look(name, pixels) for name, pixels in shown.items())
    mistakes = look(MISTAKES, controls[MISTAKES]) if MISTAKES in controls else None
    seconds = time.process_time() - clock
    looked = [clean, *attacks, *([] if mistakes is None else [mistakes])]
    unseen = [group.name for group in attacks if group.name not in weighing]
    others = {
        LOG_ODDS: Entrant(lambda group: log_odds(group.features.logits)[:, None], lambda _: BothSides()),
        PATHLESS: Entrant.of_kind(DEFAULT_KIND, _without_paths),
    }
    judged = judge_groups(clean, attacks, Protocol((DEFAULT_KIND,), others, unseen, seeds=seeds), mistakes)
    auc = judged.auc
    return {
        "data": making.data.name, "seed": seed, "accuracy": about["accuracy"],
        "clean_images": len(clean.source), "training_images": len(making.train),
        "settings": {
            "kind": DEFAULT_KIND, "fractions": list(FRACTIONS), "seeds": list(seeds), "weighed": weighing,
            "unseen": unseen,
        },
        "attacks": {
            name: {**about["attacks"][name], "used": len(shown[name].images)} for name in shown if name in chosen
        },
        "detectors": judged.table(),
        "cells": {
            name: {
                "auc": interval(auc[DEFAULT_KIND][name]),
                "tpr": interval(judged.tpr[DEFAULT_KIND][0.05][name]),
                "beyond_log_odds": interval(auc[DEFAULT_KIND][name] - auc[LOG_ODDS][name]),
                "added_by_paths": interval(auc[DEFAULT_KIND][name] - auc[PATHLESS][name]),
            }
            for name in auc[DEFAULT_KIND]
        },
        "time": {"signs_ms_an_image": round(1000 * seconds / sum(len(group.source) for group in looked), 1)},
    }  # fmt: skip


def _without_paths(group: Group) -> FloatArray:
    return group.features.suspicions(says_of(PROFILES[DEFAULT_KIND], paths=False))


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC by attack."""
    attacks = [*table["cells"], "mean"]
    drawn = [
        Series(name, [row["auc"].get(attack, row["mean"]) for attack in attacks])
        for name, row in table["detectors"].items()
        if name in (table["settings"]["kind"], LOG_ODDS, PATHLESS)
    ]
    return [Panel(network, drawn, attacks, network, line=0.5)]
