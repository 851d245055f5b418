"""Trained on one attack, tested on all others (Fig. 10, 19).

    python studies/transfer.py --case lenet_digits --output DIR/transfer/lenet_digits.json
    python studies/transfer.py --plot DIR/transfer/*.json --output DIR/transfer.svg

The loss is AUC after training on all attacks, the tested one among them, less AUC after training on one other
attack; the paper's claim is at most 0.03. Attacks of which a training part has fewer than three images are
tested only. Once over the paper's five attacks, which all stop just over the border, and once over all attacks
that start from an image, those that other studies keep out of training too. Means over five splits, intervals a
bootstrap over source images, the same resamples for both trainings. *weighed* is joint surprise with all further
signs of `studies/further_signs.py`, whose weights are learned from attacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import Case
from detection.command import run
from detection.gather import OTHERS
from detection.judge import FRACTIONS, SEEDS, Protocol, gate_detectors, judge_groups
from detection.resampling import interval
from detection.seen import Seen
from detection.signs import FLOOR, signs_among, with_signs
from effpath.detect.evaluate import Group
from effpath.detect.splits import split_sources
from sources import save_figure

Row = dict[str, Any]
KINDS = ("linear", "surprise")
RIVALS = ("CDRP, linear", "CDRP, forest")
MINIMAL = ("FGSM", "BIM", "DeepFool", "JSMA", "CWL2")
WEIGHED = "weighed"
CLAIM = 0.03
FEWEST = 3  # images of an attack in the training part of every split, without which nothing is trained on it alone


def measure(seen: Seen, case: Case) -> Row:
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
    return {
        "settings": {"fractions": list(FRACTIONS), "seeds": list(SEEDS), "claim": CLAIM},
        "only_tested": sorted(only_tested),
        "sets": found,
    }


def transfer(clean: Group, attacks: Sequence[Group], single: Sequence[str]) -> Row:
    """Return the AUC of each training, on all attacks and on each single one, and the loss of training on one."""
    names = [group.name for group in attacks]
    rivals = {name: gate_detectors()[name] for name in RIVALS} if "CDRP" in clean.arrays else {}
    if signs := signs_among(clean.arrays):
        rivals[WEIGHED] = with_signs(list(signs.values()), floor=FLOOR)
    auc = {
        trained: judge_groups(
            clean,
            attacks,
            Protocol(KINDS, rivals, [name for name in names if trained not in ("all", name)], baselines=False),
        ).auc
        for trained in ("all", *single)
    }
    result: Row = {}
    for detector in auc["all"]:
        loss = {
            trained: np.mean(
                [auc["all"][detector][name] - auc[trained][detector][name] for name in names if name != trained],
                axis=0,
            )
            for trained in single
        }
        mean = interval(np.mean(list(loss.values()), axis=0))
        result[detector] = {
            "auc": {
                trained: {name: interval(values) for name, values in own[detector].items()}
                for trained, own in auc.items()
            },
            "loss": {trained: interval(values) for trained, values in loss.items()},
            "mean_loss": mean,
            "met": mean[0] <= CLAIM,
        }
    return result


def trained_images(clean: Group, group: Group) -> int:
    """Return how many images of an attack are in the training part of a split, of the split with the fewest."""
    parts = [split_sources(clean.source, fractions=FRACTIONS, seed=seed)["train"] for seed in SEEDS]
    return min(int(np.isin(group.source, clean.source[part]).sum()) for part in parts)


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw AUC over training (rows) and attack (columns), a row of matrices a network and set; nothing of none."""
    from matplotlib.figure import Figure

    lines = [(network, name, own) for network, table in tables.items() for name, own in table["sets"].items()]
    if not lines:
        return
    columns = max(len(own) for _, _, own in lines)
    cells = [len(next(iter(own.values()))["auc"]["all"]) for _, _, own in lines]
    heights = [0.3 * count + 1.6 for count in cells]
    figure = Figure(figsize=((0.3 * max(cells) + 1.7) * columns, sum(heights)), layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for line, (network, name, own) in zip(grid, lines, strict=True):
        for axes in line[len(own) :]:
            axes.set_axis_off()
        for axes, (detector, found) in zip(line, own.items(), strict=False):
            trained, tested = list(found["auc"]), list(found["auc"]["all"])
            value = np.array([[found["auc"][row][column][0] for column in tested] for row in trained])
            axes.imshow(value, vmin=0.5, vmax=1, cmap="viridis")
            for (row, column), own_value in np.ndenumerate(value):
                colour = "black" if own_value > 0.8 else "white"
                text = f"{own_value:.2f}".removeprefix("0")
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=6)
            axes.set_xticks(range(len(tested)), tested, rotation=90, fontsize=6)
            axes.set_yticks(range(len(trained)), trained, fontsize=6)
            loss, low, high = found["mean_loss"]
            title = f"{network}, {name}, {detector}\nloss {loss:.3f} ({low:.3f} – {high:.3f})"
            axes.set_title(title, fontsize=7)
        line[0].set_ylabel("trained on", fontsize=7)
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    lines = [f"only tested, too few to train on: {name}" for name in table["only_tested"]]
    for name, own in table["sets"].items():
        for detector, found in own.items():
            worst = max(found["loss"], key=lambda trained: found["loss"][trained][0])
            loss, low, high = found["mean_loss"]
            lines.append(
                f"{name:8} {detector:13} loss {loss:.3f} ({low:.3f}–{high:.3f}), "
                f"most {found['loss'][worst][0]:.3f} when trained on {worst}"
            )
    return lines


if __name__ == "__main__":
    run(__doc__, measure, plot, report, others=OTHERS)
