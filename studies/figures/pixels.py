"""What the signs of the pixels add to the default: squares beside their space, and pixels beside those around.

Each alone, the default, and the default without either, on attacks and on the images of `figures.controls`. Its
weights are those of `figures.profiles`, and differences are paired over the same resamples.
"""

from __future__ import annotations

from detection.judge import interval, intervals, settings
from detection.product import alone, entrant, weighed
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.unusual_pixels import Surroundings, UnusualPixels
from figures.controls import flags
from figures.profiles import taught
from sources import Row

SHORT = ("squares", "24 around", "8 around")  # of what the signs say, in pictures
PARTS = {"squares": UnusualPixels.says, "surroundings": Surroundings.says}


def measure(seen: Seen) -> Row:
    """Judge the signs alone, and the default with and without them."""
    says = PROFILES[DEFAULT_KIND].says
    weighing = weighed(seen.case, [group.name for group in seen.attacks])
    without = {
        part: (f"{DEFAULT_KIND} without {part}", [title for title in says if title not in own])
        for part, own in PARTS.items()
    }
    entrants = {title: alone(title) for own in PARTS.values() for title in own}
    entrants[DEFAULT_KIND] = entrant(DEFAULT_KIND, says)
    entrants |= {name: entrant(DEFAULT_KIND, others) for name, others in without.values()}
    names = [group.name for group in (*seen.attacks, *seen.floats)]
    judged = taught(seen, entrants, weighing)
    aucs = judged.aucs()
    return {
        "settings": {
            **settings(seen),
            "unseen": [name for name in names if name not in weighing],
            "weighed": weighing,
        },
        "tested": {group.name: len(judged.evaluations[0].test[group.name]) for group in seen.attacks},
        "auc": {name: aucs[name] for name in entrants},
        "added": intervals(
            {part: judged.mean[DEFAULT_KIND] - judged.mean[name] for part, (name, _) in without.items()}
        ),
        "added_by_attack": {
            part: {
                attack: interval(judged.auc[DEFAULT_KIND][attack] - judged.auc[name][attack]) for attack in names
            }
            for part, (name, _) in without.items()
        },
        "flagged": {
            name: intervals(flags(seen, judged.evaluations, name, entrants)[0])
            for name in (DEFAULT_KIND, *(name for name, _ in without.values()))
        },
    }


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC by attack, of the signs alone and of the default with them and without."""
    attacks = [*table["tested"], "mean"]
    titles = [title for own in PARTS.values() for title in own]
    whole = {name: name.removeprefix(f"{DEFAULT_KIND} ") for name in table["auc"] if name not in titles}
    found = []
    for title, labels in (("alone", dict(zip(titles, SHORT, strict=True))), ("in the default", whole)):
        drawn = [
            Series(label, [table["auc"][name][attack] for attack in attacks]) for name, label in labels.items()
        ]
        found.append(Panel(title, drawn, attacks, network, axes={"xlabel": "AUC"}))
    return found
