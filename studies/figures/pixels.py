"""Another sign of the pixels, tried: does the default find more by values predicted from their surroundings?

The default's sign of *unusual pixels* looks at squares beside their principal space; `detection.surroundings`
predicts every value from those around it. Each alone, and the default as it is, with the other sign in the
place of its own, and with both. Its weights are those of `figures.profiles`, and differences are paired over the
same resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detection.judge import interval, intervals, settings
from detection.product import entrant, reader, weighed
from detection.seen import Seen
from detection.surroundings import SURROUNDINGS
from drawing import Panel, Series
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.unusual_pixels import UnusualPixels
from figures.profiles import taught
from sources import Row

IN_PLACE, BESIDE = "surroundings in its place", "surroundings beside it"
SQUARES = UnusualPixels.says[0]


def measure(seen: Seen) -> Row:
    """Judge both signs alone, and the default with either and with both."""
    says = PROFILES[DEFAULT_KIND].says
    others = [title for title in says if title != SQUARES]
    weighing = weighed(seen.case, [group.name for group in seen.attacks])
    entrants = {
        SQUARES: Entrant(lambda group: reader([SQUARES])(group)[:, 0]),
        SURROUNDINGS: Entrant(lambda group: group.arrays[SURROUNDINGS]),
        DEFAULT_KIND: entrant(DEFAULT_KIND, says),
        IN_PLACE: Entrant.of_kind(DEFAULT_KIND, _with_surroundings(reader(others))),
        BESIDE: Entrant.of_kind(DEFAULT_KIND, _with_surroundings(reader(says))),
    }
    names = [group.name for group in (*seen.attacks, *seen.floats)]
    judged = taught(seen, entrants, weighing)
    aucs = judged.aucs()
    own = judged.mean[DEFAULT_KIND]
    return {
        "settings": {
            **settings(seen),
            "unseen": [name for name in names if name not in weighing],
            "weighed": weighing,
        },
        "tested": {group.name: len(judged.evaluations[0].test[group.name]) for group in seen.attacks},
        "auc": {name: aucs[name] for name in entrants},
        "beyond": intervals({name: judged.mean[name] - own for name in (IN_PLACE, BESIDE)}),
        "beyond_by_attack": {
            name: {
                attack: interval(judged.auc[name][attack] - judged.auc[DEFAULT_KIND][attack]) for attack in names
            }
            for name in (IN_PLACE, BESIDE)
        },
    }


def _with_surroundings(look: Callable[[Group], np.ndarray]) -> Callable[[Group], np.ndarray]:
    return lambda group: np.column_stack([look(group), group.arrays[SURROUNDINGS]])


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC by attack, of the signs alone and of the default with them."""
    attacks = [*table["tested"], "mean"]
    found = []
    for title, names in (
        ("alone", (SQUARES, SURROUNDINGS)),
        ("with the default's other signs", (DEFAULT_KIND, IN_PLACE, BESIDE)),
    ):
        drawn = [Series(name, [table["auc"][name][attack] for attack in attacks]) for name in names]
        found.append(Panel(title, drawn, attacks, network, axes={"xlabel": "AUC"}))
    return found
