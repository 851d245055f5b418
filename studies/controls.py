"""How often images are flagged that nobody attacked: noise as large as an attack, and natural mistakes.

    python studies/controls.py --case lenet_digits --output DIR/controls/lenet_digits.json
    python studies/controls.py --plot DIR/controls/*.json --output DIR/controls.svg

At the threshold that flags 5 % of the clean images held out for it, beside the clean test images. Noisy images
are still classified correctly, and only those of test sources count. Natural mistakes are clean images that the
network gets wrong; of them also the AUC against clean test images, as of an attack. Means over five splits,
intervals a bootstrap over source images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import Case
from detection.command import run
from detection.figures import DETECTORS, draw_points
from detection.judge import Protocol, judge, settings
from detection.resampling import CleanScores, interval, row_draws, share
from detection.seen import Seen
from effpath import Features
from effpath.detect import suspicion
from effpath.detect.classifiers import reading_of
from effpath.detect.evaluate import BASELINES, Evaluation
from sources import save_figure

Row = dict[str, Any]
KINDS = ("linear", "surprise", "clean")
MISTAKES = "natural mistakes"
RATE = 0.05


def measure(seen: Seen, case: Case, rate: float = RATE) -> Row:
    """Measure how often each control is flagged."""
    judged = judge(seen, Protocol(KINDS, unseen=seen.unseen, rate=rate))
    clean, sources = seen.groups["clean"], len(seen.groups["clean"].source)
    found: Row = {}
    for detector in (*KINDS, *BASELINES):
        flagged: dict[str, list[np.ndarray]] = {"clean": [], **{name: [] for name in seen.controls}}
        auc = []
        for evaluation in judged.evaluations:
            tested = clean.source[evaluation.test["clean"]]
            own = evaluation.suspicion[detector]["clean"]
            drawn = row_draws(tested, sources)
            flagged["clean"].append(share(own > evaluation.threshold[detector], drawn))
            for name, control in seen.controls.items():
                rows = np.flatnonzero((control.source < 0) | np.isin(control.source, tested))
                scores = suspicion_of(evaluation, detector, control.features[rows])
                draws = row_draws(control.source[rows], sources)
                flagged[name].append(share(scores > evaluation.threshold[detector], draws))
                if name == MISTAKES:
                    auc.append(CleanScores.rank(own, drawn).auc(scores, draws))
        found[detector] = {
            "flagged": {name: interval(np.mean(values, axis=0)) for name, values in flagged.items()},
            **({"mistakes_auc": interval(np.mean(auc, axis=0))} if auc else {}),
        }
    return {
        "settings": {"rate": rate, **settings(seen)},
        "images": {"clean": sources, **{name: len(control.source) for name, control in seen.controls.items()}},
        "detectors": found,
    }


def suspicion_of(evaluation: Evaluation, detector: str, features: Features) -> np.ndarray:
    """Return what a detector of an evaluation says of other images."""
    if detector in BASELINES:
        return BASELINES[detector](features)
    return suspicion(evaluation.classifiers[detector], reading_of(detector).columns(features))


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the share flagged of each control, a panel a network."""
    from matplotlib.figure import Figure

    heights = [0.55 * len(table["images"]) + 0.9 for table in tables.values()]
    figure = Figure(figsize=(7, sum(heights)), layout="constrained")
    grid = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (network, table) in zip(grid, tables.items(), strict=True):
        names = list(table["images"])
        places = np.arange(len(names))[::-1]
        for shift, (detector, own) in zip(np.linspace(0.3, -0.3, 5), table["detectors"].items(), strict=True):
            values = [own["flagged"][name] for name in names]
            draw_points(axes, places + shift, values, color=DETECTORS[detector], marker="o", label=detector)
        axes.set_yticks(places, [f"{name} ({table['images'][name]})" for name in names], fontsize="small")
        axes.axvline(RATE, color="black", linewidth=0.6)
        axes.set(title=network, xlim=(-0.02, 1.02))
    grid[-1].set_xlabel("share flagged")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    lines = []
    for detector, own in table["detectors"].items():
        shares = ", ".join(f"{name} {value[0]:.3f}" for name, value in own["flagged"].items())
        auc = own.get("mistakes_auc")
        lines.append(f"{detector}: {shares}" + (f"; AUC of mistakes {auc[0]:.3f}" if auc else ""))
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report)
