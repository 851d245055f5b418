"""ROC of our detectors by attack (Fig. 6, 7, 16), and their AUC beside the paper's.

    python studies/roc.py --case lenet_digits --output DIR/roc/lenet_digits.json
    python studies/roc.py --plot DIR/roc/*.json --output DIR/roc.png

The paper's detector, the joint similarity, and joint surprise, in the order of attacks. AUCs are means over five
splits that are disjoint by source image, intervals a bootstrap over source images; beside them what the published
protocol gives, whose splits share source images. Curves are of the first split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from detection.cases import Case
from detection.command import run
from detection.figures import DETECTORS as COLOURS
from detection.judge import FRACTIONS, SEEDS, Protocol, judge, settings
from detection.resampling import interval
from detection.seen import Seen
from effpath.detect import make_classifier, paper_split, suspicion
from effpath.detect.evaluate import BASELINES
from sources import save_figure

Row = dict[str, Any]
DETECTORS = ("linear", "surprise")
POINTS = 41  # of a curve
COLUMNS = 5  # of the figure


def measure(seen: Seen, case: Case) -> Row:
    """Measure our two linear detectors on every attack."""
    judged = judge(seen, Protocol(kinds=DETECTORS, unseen=seen.unseen))
    first = judged.evaluations[0]
    curves = {
        detector: {
            group.name: curve(first.suspicion[detector]["clean"], first.suspicion[detector][group.name])
            for group in seen.attacks
        }
        for detector in (*DETECTORS, *BASELINES)
    }
    published = published_auc(seen)
    linear = {name: interval(values) for name, values in judged.auc["linear"].items()}
    return {
        "settings": settings(seen),
        "sizes": dict(first.sizes),
        "tested": {group.name: len(first.test[group.name]) for group in seen.attacks},
        "detectors": judged.table(),
        "published_protocol": published,
        "paper": {
            name: {"paper": wanted, "ours": linear[name][0], "met": linear[name][0] >= wanted}
            for name, wanted in case.paper.items()
            if name in linear
        },
        "curves": curves,
    }


def curve(clean: np.ndarray, attacked: np.ndarray) -> Row:
    """Return true positive rates at evenly spread false positive rates."""
    y = np.repeat([0, 1], [len(clean), len(attacked)])
    fpr, tpr, _ = roc_curve(y, np.concatenate([clean, attacked]))
    at = np.linspace(0, 1, POINTS) ** 2  # denser where rates are low
    return {"fpr": np.round(at, 4).tolist(), "tpr": np.round(np.interp(at, fpr, tpr), 4).tolist()}


def published_auc(seen: Seen) -> dict[str, float]:
    """Return the AUC of the joint similarity where splits are drawn per attack over rows, mean over seeds."""
    names = ["clean", *(group.name for group in seen.attacks)]
    values = {name: seen.groups[name].features.values for name in names}
    groups = np.repeat(np.arange(len(names)), [len(values[name]) for name in names])
    starts = dict(zip(names, np.cumsum([0, *(len(values[name]) for name in names)])[:-1], strict=True))
    found: dict[str, float] = {}
    for seed in SEEDS:
        parts = paper_split(
            groups, fractions=dict(zip(("train", "rest", "test"), FRACTIONS, strict=True)), seed=seed
        )

        def rows(name: str, part: str, parts: Mapping[str, np.ndarray] = parts) -> np.ndarray:
            inside = parts[part][(parts[part] >= starts[name]) & (parts[part] < starts[name] + len(values[name]))]
            return values[name][inside - starts[name]]

        for name in names[1:]:
            clean, attacked = rows("clean", "train"), rows(name, "train")
            model = make_classifier("linear", seed=seed)
            model.fit(np.concatenate([clean, attacked]), np.repeat([0, 1], [len(clean), len(attacked)]))
            scores = [suspicion(model, rows("clean", "test")), suspicion(model, rows(name, "test"))]
            y = np.repeat([0, 1], [len(part) for part in scores])
            found[name] = found.get(name, 0) + float(roc_auc_score(y, np.concatenate(scores))) / len(SEEDS)
    return {name: round(value, 4) for name, value in found.items()}


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the curves, a panel an attack."""
    from matplotlib.figure import Figure

    panels = [(network, name, table["curves"]) for network, table in tables.items() for name in table["tested"]]
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(1.9 * COLUMNS, 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes, (network, name, curves) in zip(grid.flat, panels, strict=False):
        for detector in reversed(("surprise", "linear", "max softmax", "energy")):
            own = curves[detector][name]
            axes.plot(own["fpr"], own["tpr"], color=COLOURS[detector], linewidth=1.2, label=detector)
        axes.set_title(f"{network}\n{name}" if len(tables) > 1 else name, fontsize="small")
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    grid[-1, 0].set(xlabel="false positive rate", ylabel="true positive rate")
    grid[0, 0].legend(fontsize="x-small", loc="lower right")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    """Return a line an attack."""
    lines = []
    for name, (value, low, high) in table["detectors"]["linear"]["auc"].items():
        other = table["detectors"]["surprise"]["auc"][name][0]
        wanted = table["paper"].get(name, {}).get("paper", "")
        lines.append(f"{name:22} linear {value:.3f} ({low:.3f}–{high:.3f}), surprise {other:.3f}, paper {wanted}")
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report)
