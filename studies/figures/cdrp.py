"""Critical data routing paths beside effective paths: how well each finds attacks, and what an image takes.

Both methods see the same images, and their four classifiers are trained and tested on the same splits, disjoint by
source image; the linear one is the joint similarity of paths, and an elastic net without signs for gates. AUCs are
means over splits, with a 95 % interval from a bootstrap over source images, the same resamples for both. Times are
process times of one thread, of batches of one size, in one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from timeit import timeit
from typing import Any, Literal

import numpy as np
import torch

from detection.cases import Case
from detection.judge import FRACTIONS, SEEDS, Protocol, interval, judge_groups
from detection.making import Making, thinned
from drawing import Panel, Series
from effpath.detect import path_features
from effpath.detect.evaluate import Group
from effpath.files.progress import track
from rivals import entrants
from rivals.cdrp import cdrp_gates, gated_nodes
from sources import Row

KINDS = {kind: f"CDRP, {kind}" for kind in ("linear", "forest", "adaboost", "boosting")}  # of paths: of gates
ROUNDS = 5


def median_times(works: Mapping[str, Callable[[], Any]], images: int) -> Row:
    """Return process time per image in ms, the median of rounds that take each work once, after one to warm up."""
    rounds = [
        [timeit(work, timer=time.process_time, number=1) for work in works.values()] for _ in range(1 + ROUNDS)
    ]
    return dict(zip(works, (1e3 * np.median(rounds[1:], axis=0) / images).tolist(), strict=True))


def measure(
    case: Case,
    *,
    gated: Sequence[str] | Literal["auto"] = "auto",
    images: int | None = None,
    gathered: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    timed: int = 64,
    seed: int = 0,
) -> Row:
    """Measure both methods on one network.

    Args:
        case: what is attacked, with what.
        gated, gathered, timed: as the options of `figures` say.
        images: attacked images that gates are trained for, with what was made of them; None for all, and the
            clean images that were not attacked.
        seeds: of the splits.
        seed: of training, images and attacks.
    """
    named = gathered or [name for name, planned in case.attacks.items() if not planned.floats]
    chosen = {name: planned for name, planned in case.attacks.items() if name in named}
    making = Making(replace(case, attacks=chosen), seed)
    made, _, about = making.made
    groups, graph = thinned(made, images), making.graph
    class_paths = making.class_paths()
    look = making.look(class_paths)
    paths = {name: look(group.images) for name, group in groups.items()}
    gates = {}
    for name, group in groups.items():
        with track(f"gates of {name}") as progress:
            gates[name] = cdrp_gates(graph, group.images, gated=gated, batch_size=16, progress=progress)
    clean, *others = (
        Group(name, paths[name], group.source, {"CDRP": gates[name].features().values}, group.clusters)
        for name, group in groups.items()
    )
    unseen = [name for name in groups if name in chosen and chosen[name].unseen]
    judged = judge_groups(
        clean, others, Protocol(kinds=tuple(KINDS), others=entrants({"CDRP"}), unseen=unseen, seeds=seeds)
    )
    some = groups["clean"].images[:timed]
    ms = median_times(
        {
            "forward": lambda: [graph.run(part) for part in some.split(16)],
            "paths": lambda: path_features(graph, class_paths, some, batch_size=16),
            "cdrp": lambda: cdrp_gates(graph, some, gated=gated, batch_size=16),
        },
        len(some),
    )
    return {
        "data": making.data.name,
        "settings": {
            "gated": list(gated_nodes(graph, gated)), "fractions": list(FRACTIONS), "seeds": list(seeds),
            "unseen": unseen, "seed": seed,
        },
        "accuracy": about["accuracy"],
        "class_path_images": class_paths.images,
        "sources": len(clean.source),
        "similarities": clean.features.values.shape[1],
        "gates": gates["clean"].values.shape[1],
        "closed_gates": {name: round(float((found.values == 0).mean()), 4) for name, found in gates.items()},
        "attacks": {
            name: {**about["attacks"][name], "used": len(groups[name].images)} for name in groups if name in chosen
        },
        "detectors": judged.table(),
        "paths_beyond_cdrp": {
            kind: interval(judged.mean[kind] - judged.mean[other]) for kind, other in KINDS.items()
        },
        "time": {
            "images": len(some), "batch": 16, "rounds": ROUNDS, "threads": torch.get_num_threads(),
            **{f"{name}_ms_an_image": float(f"{value:.4g}") for name, value in ms.items()},
            **{f"{name}_by_forward": float(f"{ms[name] / ms['forward']:.4g}") for name in ("paths", "cdrp")},
        },
    }  # fmt: skip


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC by attack, a panel for each classifier."""
    attacks = [*table["attacks"], "mean"]
    found = []
    for kind, other in KINDS.items():
        drawn = [
            Series(method, [row["auc"].get(name, row["mean"]) for name in attacks])
            for method, row in (("effective paths", table["detectors"][kind]), ("CDRP", table["detectors"][other]))
        ]
        found.append(Panel(f"{network}, {kind}", drawn, attacks, network, line=0.5))
    return found
