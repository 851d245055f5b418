"""What a detected image really shows: how often its rank-2 class, or the class that fits best, is the true one.

    python studies/recovery.py --case lenet_digits --output DIR/recovery/lenet_digits.json
    python studies/recovery.py --plot DIR/recovery/*.json --output DIR/recovery.svg

Of the attacked test images that are flagged at 5 % false positives, and of those that are not. The guesses: the
class of the rank-2 path; the class that the rank-1 path fits best by use counts; the best fitting one that is
not the predicted class. Images made from no image have no true class. Shares are of the images of five splits
together, intervals a bootstrap over source images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import Case
from detection.command import run
from detection.figures import draw_points
from detection.judge import SEEDS, Protocol, judge, settings
from detection.resampling import interval, row_draws, share
from detection.seen import Seen
from effpath import Features
from sources import save_figure

Row = dict[str, Any]
KINDS = ("linear", "surprise")
GUESSES = {"rank 2": "tab:red", "best fit": "tab:blue", "best other fit": "tab:green"}
RATE = 0.05


def measure(seen: Seen, case: Case, rate: float = RATE) -> Row:
    """Measure how often each guess is right, of detected images and of others."""
    judged = judge(seen, Protocol(KINDS, unseen=seen.unseen, baselines=False, rate=rate))
    sources = len(seen.groups["clean"].source)
    found: Row = {detector: {} for detector in KINDS}
    for group in seen.attacks:
        labels = seen.labels[group.name]
        if not (labels >= 0).any():
            continue
        right = {name: guess == labels for name, guess in guesses(group.features).items()}
        draws = row_draws(group.source, sources)
        for detector in KINDS:
            times = {"detected": np.zeros(len(labels)), "undetected": np.zeros(len(labels))}  # in how many splits
            for evaluation in judged.evaluations:
                rows = evaluation.test[group.name]
                flagged = evaluation.suspicion[detector][group.name] > evaluation.threshold[detector]
                times["detected"][rows] += flagged
                times["undetected"][rows] += ~flagged
            found[detector][group.name] = {
                part: {
                    "images": round(float(own.sum()) / len(SEEDS), 1),
                    **{name: interval(share(hits, draws * own[:, None])) for name, hits in right.items()},
                }
                for part, own in times.items()
                if own.any()
            }
    return {
        "settings": {"rate": rate, **settings(seen)},
        "detectors": found,
    }


def guesses(features: Features) -> dict[str, np.ndarray]:
    """Return the guesses of the true class of each image, int64 [N] each."""
    assert features.likelihood is not None
    likelihood = np.nanmean(features.likelihood, axis=1)  # [N, classes]
    known = np.array(features.likelihood_classes)
    likelihood[known == features.classes[:, :1]] = -np.inf
    found = features.classes[:, 1], features.most_likely(), known[likelihood.argmax(1)]
    return dict(zip(GUESSES, found, strict=True))


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the shares by attack, filled for detected images and hollow for others; a row a network."""
    from matplotlib.figure import Figure

    heights = [0.42 * len(table["detectors"]["linear"]) + 0.9 for table in tables.values()]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    grid = figure.subplots(
        len(tables), len(KINDS), squeeze=False, sharex=True, sharey="row", height_ratios=heights
    )
    for line, (network, table) in zip(grid, tables.items(), strict=True):
        for axes, detector in zip(line, KINDS, strict=True):
            names = list(table["detectors"][detector])
            places = np.arange(len(names))[::-1]
            for shift, (guess, colour) in zip((0.25, 0, -0.25), GUESSES.items(), strict=True):
                for part, filled in (("detected", colour), ("undetected", "white")):
                    rows = [row for row, name in enumerate(names) if part in table["detectors"][detector][name]]
                    own = [table["detectors"][detector][names[row]][part][guess] for row in rows]
                    how = {"color": colour, "markerfacecolor": filled, "label": f"{guess}, {part}"}
                    if rows:
                        draw_points(axes, places[rows] + shift, own, marker="o", **how)
            axes.set_yticks(places, names, fontsize="small")
            axes.set_title(f"{network}, {detector}", fontsize="medium")
    grid[-1, 0].set_xlabel("share whose guess is the true class")
    marks = {
        label: mark for axes in grid.flat for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(marks.values()), list(marks), loc="outside lower center", ncols=3, fontsize="small")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    lines = []
    for detector, attacks in table["detectors"].items():
        for name, parts in attacks.items():
            for part, own in parts.items():
                shares = ", ".join(f"{guess} {own[guess][0]:.3f}" for guess in GUESSES)
                lines.append(f"{detector}, {name:20} {part:10} {own['images']:6.1f} images: {shares}")
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report)
