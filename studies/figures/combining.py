"""The rules by which the default could combine its signs, and each sign alone: what a sum dilutes.

Every rule of `CombinedSurprise` has the signs of the default kind, and weights as `effpath fit` makes them. A sign
alone is judged by its values. *The best sign of each attack* is no detector: nobody knows the attack beforehand.
"""

from __future__ import annotations

from detection.judge import Resampled, interval, settings
from detection.product import alone, reader, weighed
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect import CombinedSurprise
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.combining import RULES
from effpath.detect.evaluate import Entrant
from effpath.detect.signs.profiles import PROFILES
from figures.profiles import by_kind, taught
from sources import Row

SHIPPED = CombinedSurprise().rule


def measure(seen: Seen) -> Row:
    """Judge every rule and every sign alone; what rules lose is paired with the rule that is shipped."""
    says = PROFILES[DEFAULT_KIND].says
    rules = {
        rule: Entrant(reader(says), lambda seed, rule=rule: CombinedSurprise(DEFAULT_KIND, rule=rule))
        for rule in RULES
    }
    signs = {title: alone(title) for title in says}
    names = [group.name for group in seen.attacks]
    weighing = weighed(seen.case, names)
    judged = taught(seen, {**rules, **signs}, weighing)
    aucs = judged.aucs()
    best = {name: max(signs, key=lambda title: aucs[title][name][0]) for name in names}
    return {
        "settings": {**settings(seen), "weighed": weighing, "compared": SHIPPED},
        "tested": {name: len(judged.evaluations[0].test[name]) for name in names},
        "rules": {rule: _means(judged, rule, names) for rule in rules},
        "beyond_shipped": {rule: interval(judged.mean[rule] - judged.mean[SHIPPED]) for rule in rules},
        "auc": {rule: aucs[rule] for rule in rules},
        "alone": {title: aucs[title] for title in signs},
        "best_alone": {name: [title, aucs[title][name][0]] for name, title in best.items()},
    }


def _means(judged: Resampled, detector: str, names: list[str]) -> dict[str, list[float]]:
    return {kind: interval(values) for kind, values in by_kind(judged, detector, names).items()}


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC of the shipped rule and of the best sign of each attack, attack by attack."""
    names = list(table["tested"])
    shown = {
        f"all signs, {SHIPPED}": [table["auc"][SHIPPED][name] for name in names],
        "the best sign of each attack": [table["alone"][table["best_alone"][name][0]][name] for name in names],
    }
    drawn = [Series(label, values) for label, values in shown.items()]
    return [Panel(network, drawn, names, network, axes={"xlabel": "AUC"})]
