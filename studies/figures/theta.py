"""Detection over θ, the share of a value that a path explains (Fig. 11).

For each θ class paths and features are made again, from images that were attacked once: as many as ``--images``
says, evenly spread, or else as many as the case says.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detection.judge import Protocol, judge_groups, settings
from detection.making import Making, savable, thinned
from detection.seen import Seen
from drawing import MARKED, Panel, Series
from effpath.detect.evaluate import Group
from effpath.files.progress import track
from sources import Row

KINDS = ("linear", "surprise")


def measure(seen: Seen, images: int | None = None, per_class: int | None = None) -> Row:
    """Measure our detectors for each θ of the case, on so many attacked images and training images per class.

    Without, on as many as the case says.
    """
    case = seen.case
    taken = replace(case, per_class=per_class or case.theta_per_class or case.per_class)
    making = Making(taken, seen.about["seed"])
    pixels = thinned(savable(making.made[0], taken), images or case.theta_sources)
    found = {}
    for theta in case.thetas:
        class_paths = making.class_paths(theta)
        look = making.look(class_paths)
        with track(f"paths at θ {theta}"):
            clean, *attacks = (
                Group(name, look(shots.images), shots.source, clusters=shots.clusters)
                for name, shots in pixels.items()
            )
        densities = [class_paths[label].density() for label in class_paths.classes]
        found[str(theta)] = {
            "class_path_density": round(float(np.mean(densities)), 5),
            "auc": judge_groups(clean, attacks, Protocol(KINDS, unseen=seen.unseen)).aucs(),
        }
    return {
        "settings": settings(seen),
        "images": {name: len(group.source) for name, group in pixels.items()},
        "class_path_images": len(making.train),
        "thetas": found,
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC over θ."""
    thetas, at = table["thetas"], list(map(float, table["thetas"]))
    drawn = [
        Series(detector, [row["auc"][detector]["mean"] for row in thetas.values()], at, MARKED)
        for detector in ("energy", "max softmax", *KINDS)
    ]
    density = ", ".join(f"{result['class_path_density']:.3f}" for result in thetas.values())
    axes = {"xlabel": f"θ\ndensity of class paths: {density}", "ylabel": "AUC, mean over attacks"}
    return [Panel(network, drawn, row=network, axes=axes)]
