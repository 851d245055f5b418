"""How many kinds of attack each detector finds (Table 2), from results of `studies/detectors.py`.

    python studies/breadth.py --results DIR/detectors/*.json --output DIR/breadth.json
    python studies/breadth.py --plot DIR/detectors/*.json --output DIR/breadth.svg

An attack counts as found where half of its images are flagged at 5 % false positives.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sources import is_done, read_result, save_figure, write_result

Row = dict[str, Any]
RATE = "0.05"
FOUND = 0.5  # true positive rate at which an attack is found


def measure(result: Row) -> Row:
    """Count the attacks that each detector finds, most first, and name the one that it tells worst."""
    rows = {name: breadth(own) for name, own in result["detectors"].items()}
    return dict(sorted(rows.items(), key=lambda pair: (-pair[1]["found"], -pair[1]["lowest_auc"])))


def breadth(own: Row) -> Row:
    """Return the breadth of one detector from its AUC and TPR by attack."""
    tpr = {name: value for name, (value, _, _) in own["tpr"][RATE].items()}
    auc = {name: value for name, (value, _, _) in own["auc"].items()}
    worst = min(auc, key=lambda name: auc[name])
    return {
        "whose": own["whose"],
        "found": sum(value >= FOUND for value in tpr.values()),
        "attacks": len(tpr),
        "lowest_auc": auc[worst],
        "lowest_attack": worst,
        "tpr": tpr,
    }


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the true positive rates, a grid of detectors and attacks for each network."""
    from matplotlib.figure import Figure

    found = {network: measure(table) for network, table in tables.items()}
    heights = [0.24 * len(rows) + 1.5 for rows in found.values()]
    wide = max(len(next(iter(rows.values()))["tpr"]) for rows in found.values())
    figure = Figure(figsize=(0.5 * wide + 3.6, sum(heights)), layout="constrained")
    grid = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (network, rows) in zip(grid, found.items(), strict=True):
        attacks = list(next(iter(rows.values()))["tpr"])
        value = np.array([[own["tpr"][name] for name in attacks] for own in rows.values()])
        axes.imshow(value, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for (row, column), rate in np.ndenumerate(value):
            colour = "black" if rate >= FOUND else "white"
            axes.text(column, row, f"{rate:.2f}", ha="center", va="center", color=colour, fontsize=7)
        axes.set_xticks(range(len(attacks)), attacks, rotation=40, ha="right", fontsize=7)
        labels = [f"{name} ({own['whose']}) {own['found']}/{own['attacks']}" for name, own in rows.items()]
        axes.set_yticks(range(len(rows)), labels, fontsize=7)
        axes.set_title(f"{network}: share flagged at 5 % false positives", fontsize="small")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    lines = []
    for name, own in table.items():
        lowest = f"{own['lowest_auc']:.3f} ({own['lowest_attack']})"
        lines.append(f"{name:28} {own['found']:2} of {own['attacks']}, lowest AUC {lowest}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, nargs="+", default=[], help="of studies/detectors.py")
    parser.add_argument("--plot", type=Path, nargs="+", help="draw these results instead of counting")
    parser.add_argument("--output", type=Path, required=True, help="a .json file; an .svg file with --plot")
    options = parser.parse_args()
    if is_done(options, plot):
        return
    networks = {file.stem: measure(read_result(file)) for file in options.results}
    write_result({"settings": {"rate": float(RATE), "found": FOUND}, "networks": networks}, options.output)
    for network, table in networks.items():
        print("\n".join([network, *report(table)]))


if __name__ == "__main__":
    main()
