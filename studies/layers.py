"""How many layers detection needs (Fig. 12, 20).

    python studies/layers.py --case lenet_digits --output DIR/layers/lenet_digits.json
    python studies/layers.py --plot DIR/layers/*.json --output DIR/layers.svg

Detectors see the last 1, 2, 3 … layers only, or a single layer only; similarities and fits are per layer, so
that these are columns of the same features. Means over five splits, intervals a bootstrap over source images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.cases import Case
from detection.command import run
from detection.figures import DETECTORS, draw_band
from detection.judge import Protocol, judge_groups, settings
from detection.seen import Seen
from effpath import Features
from effpath.detect.evaluate import Group
from sources import save_figure

Row = dict[str, Any]
KINDS = ("linear", "surprise")


def measure(seen: Seen, case: Case) -> Row:
    """Measure our detectors on the last layers and on each single one."""
    layers = seen.about["layers"]

    def aucs(places: Sequence[int]) -> Row:
        clean, *attacks = (of_layers(group, places) for group in (seen.groups["clean"], *seen.attacks))
        return judge_groups(clean, attacks, Protocol(KINDS, unseen=seen.unseen, baselines=False)).aucs()

    count = len(layers)
    return {
        "settings": settings(seen),
        "layers": layers,
        "last": {str(last): aucs(range(count - last, count)) for last in range(1, count + 1)},
        "single": {layer: aucs([place]) for place, layer in enumerate(layers)},
    }


def of_layers(group: Group, places: Sequence[int]) -> Group:
    """Return a group whose features are those of some layers, both ranks and the likelihood."""
    own = group.features
    assert own.likelihood is not None
    layers = own.likelihood.shape[1]
    columns = [rank * layers + place for rank in range(len(own.names) // layers) for place in places]
    features = Features(
        own.values[:, columns], tuple(own.names[column] for column in columns), own.classes, own.logits,
        own.likelihood[:, list(places)], own.likelihood_classes,
    )  # fmt: skip
    return Group(group.name, features, group.source)


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the mean AUC over the number of last layers, and of each single layer; a row a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.9 * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), 2, squeeze=False, sharey="row")
    for (last, single), (network, table) in zip(grid, tables.items(), strict=True):
        count = len(table["layers"])
        places = range(1, count + 1)
        for detector in KINDS:
            how = {"color": DETECTORS[detector], "marker": "o", "label": detector}
            draw_band(last, places, [table["last"][str(n)][detector]["mean"] for n in places], **how)
            own = [table["single"][layer][detector]["mean"] for layer in table["layers"]]
            draw_band(single, places, own, **how)
        step = -(-count // 12)
        last.set(xlabel="last layers used", ylabel="AUC, mean over attacks", title=network)
        single.set(title=f"{network}, a single layer")
        last.set_xticks(places[::step])
        single.set_xticks(places[::step], table["layers"][::step], rotation=30, ha="right", fontsize="x-small")
        for axes in (last, single):
            axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize="small")
    save_figure(figure, file)


def report(table: Row) -> Sequence[str]:
    lines = [f"last {last:>3}: {_means(own)}" for last, own in table["last"].items()]
    return lines + [f"{layer} alone: {_means(own)}" for layer, own in table["single"].items()]


def _means(own: Row) -> str:
    return ", ".join(f"{detector} {own[detector]['mean'][0]:.3f}" for detector in KINDS)


if __name__ == "__main__":
    run(__doc__, measure, plot, report)
