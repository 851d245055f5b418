"""How many layers detection needs (Fig. 12, 20).

Detectors see the last 1, 2, 3 … layers only, or a single layer only; similarities and fits are per layer, so
that these are columns of the same features.
"""

from __future__ import annotations

from collections.abc import Sequence

from detection.judge import Protocol, judge_groups, settings
from detection.seen import Seen
from drawing import MARKED, Panel, Series
from effpath import Features
from effpath.detect.evaluate import Group
from sources import Row

KINDS = ("linear", "surprise")


def measure(seen: Seen) -> Row:
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
    whole = group.features
    assert whole.likelihood is not None
    layers = whole.likelihood.shape[1]
    columns = [rank * layers + place for rank in range(len(whole.names) // layers) for place in places]
    features = Features(
        whole.values[:, columns], tuple(whole.names[column] for column in columns), whole.classes, whole.logits,
        whole.likelihood[:, list(places)], whole.likelihood_classes,
    )  # fmt: skip
    return Group(group.name, features, group.source, clusters=group.clusters)


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC over the number of last layers, and of each single layer."""
    axes = {"xlabel": "last layers used", "ylabel": "AUC, mean over attacks"}
    found = []
    for part, title, labels in (("last", network, axes), ("single", f"{network}, a single layer", {})):
        aucs = table[part].values()
        drawn = [Series(kind, [auc[kind]["mean"] for auc in aucs], style=MARKED) for kind in KINDS]
        found.append(Panel(title, drawn, list(table[part]), network, axes=labels))
    return found
