"""Detection over θ, the share of a value that a path explains (Fig. 11).

    python studies/theta.py --case lenet_digits --output DIR/theta/lenet_digits.json
    python studies/theta.py --case resnet50_imagenette --sources 30 --per-class 30 --output DIR/theta/NAME.json
    python studies/theta.py --plot DIR/theta/*.json --output DIR/theta.svg

For each θ class paths and features are made anew, of the images that were attacked once; ``--sources`` takes so
many of them, evenly spread; without, as many as the case says. Means over five splits, intervals a bootstrap over
source images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import effpath
from detection.cases import Case
from detection.command import run
from detection.figures import DETECTORS, draw_band
from detection.gather import class_paths_of, made_of, open_case, thinned, training_part
from detection.judge import Protocol, judge_groups, settings
from detection.seen import Seen
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import path_features
from effpath.detect.evaluate import Group
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from sources import save_figure

Row = dict[str, Any]
KINDS = ("linear", "surprise")


def measure(seen: Seen, case: Case, sources: int | None = None, per_class: int | None = None) -> Row:
    """Measure our detectors for each θ of the case, on so many sources and training images of a class.

    Without, on as many as the case says.
    """
    model, data = open_case(case, seen.about["seed"])
    pixels, _, _ = made_of(case, model, data, seen.about["seed"], default_cache_dir())
    pixels = thinned(pixels, sources or case.theta_sources)
    train = training_part(data, replace(case, per_class=per_class or case.theta_per_class or case.per_class))
    graph = effpath.capture(model, train.images[:1])
    found = {}
    for theta in case.thetas:
        class_paths = class_paths_of(graph, train, case, theta=theta)
        likelihood = PathLikelihood(class_paths)
        look = partial(path_features, graph, class_paths, likelihood=likelihood, batch_size=case.batch)
        with track(f"paths at θ {theta}"):
            clean, *attacks = (
                Group(name, look(own.images), own.source)
                for name, own in pixels.items()
            )  # fmt: skip
        densities = [class_paths[label].density() for label in class_paths.classes]
        found[str(theta)] = {
            "class_path_density": round(float(np.mean(densities)), 5),
            "auc": judge_groups(clean, attacks, Protocol(KINDS, unseen=seen.unseen)).aucs(),
        }
    return {
        "settings": settings(seen),
        "images": {name: len(own.source) for name, own in pixels.items()},
        "class_path_images": len(train),
        "thetas": found,
    }


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the mean AUC over θ, a panel a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(tables) + 0.6, 3), layout="constrained")
    grid = figure.subplots(1, len(tables), squeeze=False)
    for axes, (network, table) in zip(grid[0], tables.items(), strict=True):
        thetas = list(table["thetas"])
        for detector in ("energy", "max softmax", *KINDS):
            own = [table["thetas"][theta]["auc"][detector]["mean"] for theta in thetas]
            draw_band(axes, [float(t) for t in thetas], own, color=DETECTORS[detector], marker="o", label=detector)
        axes.set(xlabel="θ", title=network)
    grid[0, 0].set_ylabel("AUC, mean over attacks")
    grid[0, 0].legend(fontsize="small")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    lines = []
    for theta, own in table["thetas"].items():
        means = ", ".join(f"{detector} {own['auc'][detector]['mean'][0]:.3f}" for detector in KINDS)
        lines.append(f"θ {theta}: {means}; density of class paths {own['class_path_density']:.3f}")
    return lines


if __name__ == "__main__":
    run(
        __doc__, measure, plot, report,
        {"sources": "use so many of the attacked images", "per_class": "training images of a class for its path"},
    )  # fmt: skip
