"""Detection over θ, the share of a value that a path explains (Fig. 11).

For each θ class paths and features are made anew, of the images that were attacked once; ``--images`` takes so
many of them, evenly spread; without, as many as the case says. Means over five splits, intervals a bootstrap over
source images.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

import effpath
from detection.cases import Case
from detection.gather import class_paths_of, made_of, open_case, thinned, training_part
from detection.judge import Protocol, judge_groups, settings
from detection.seen import Seen
from drawing import MARKED, Panel, Series
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import path_features
from effpath.detect.evaluate import Group
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from sources import Row

KINDS = ("linear", "surprise")


def measure(seen: Seen, case: Case, images: int | None = None, per_class: int | None = None) -> Row:
    """Measure our detectors for each θ of the case, on so many attacked images and training images per class.

    Without, on as many as the case says.
    """
    model, data = open_case(case, seen.about["seed"])
    pixels, _, _ = made_of(case, model, data, seen.about["seed"], default_cache_dir())
    pixels = thinned(pixels, images or case.theta_sources)
    train = training_part(data, replace(case, per_class=per_class or case.theta_per_class or case.per_class))
    graph = effpath.capture(model, train.images[:1])
    found = {}
    for theta in case.thetas:
        class_paths = class_paths_of(graph, train, case, theta=theta)
        likelihood = PathLikelihood(class_paths)
        look = partial(path_features, graph, class_paths, likelihood=likelihood, batch_size=case.batch)
        with track(f"paths at θ {theta}"):
            clean, *attacks = (Group(name, look(shots.images), shots.source) for name, shots in pixels.items())
        densities = [class_paths[label].density() for label in class_paths.classes]
        found[str(theta)] = {
            "class_path_density": round(float(np.mean(densities)), 5),
            "auc": judge_groups(clean, attacks, Protocol(KINDS, unseen=seen.unseen)).aucs(),
        }
    return {
        "settings": settings(seen),
        "images": {name: len(group.source) for name, group in pixels.items()},
        "class_path_images": len(train),
        "thetas": found,
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC over θ."""
    thetas = table["thetas"]
    drawn = [
        Series(
            detector,
            [result["auc"][detector]["mean"] for result in thetas.values()],
            list(map(float, thetas)),
            MARKED,
        )
        for detector in ("energy", "max softmax", *KINDS)
    ]
    density = ", ".join(f"{result['class_path_density']:.3f}" for result in thetas.values())
    axes = {"xlabel": f"θ\ndensity of class paths: {density}", "ylabel": "AUC, mean over attacks"}
    return [Panel(network, drawn, row=network, axes=axes)]
