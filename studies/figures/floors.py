"""Two choices of the default: that it looks for unusual activity in one place, and what a sign counts at least.

Each variant is the default with that sign or without it, and with some floors: by clean rows, and by attacked rows
where the attacks of `figures.profiles` weigh the signs. Variants that clean images alone weigh stand beside. The
shipped one is compared with each that is weighed alike, paired over the same resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

from detection.judge import intervals, settings
from detection.product import reader, weighed
from detection.seen import Seen
from drawing import Panel, Series
from effpath.detect import CombinedSurprise
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.evaluate import Entrant
from effpath.detect.signs.forward_concentration import ForwardConcentration
from effpath.detect.signs.profiles import PROFILES
from figures.profiles import beyond, by_kind, taught
from sources import Row

FLOORS = {"attacks": ((0.25, 0.1), (0.25, 0.25), (0.25, 0.0), (0.15, 0.15)), "clean alone": ((0.25,), (0.15,))}
"""By what weighs the signs: the floors by clean rows and by attacked ones, those that are shipped first."""


@dataclass(frozen=True)
class Variant:
    """The default with other floors, and with the sign or without it."""

    placed: bool
    floors: tuple[float, ...]

    @property
    def name(self) -> str:
        floors = " and ".join(f"{floor:g}" for floor in self.floors)
        return f"{'all signs' if self.placed else 'not in one place'}, {floors}"

    def entrant(self) -> Entrant:
        """Return it as a detector."""
        left_out = () if self.placed else ForwardConcentration.says
        says = [title for title in PROFILES[DEFAULT_KIND].says if title not in left_out]
        given = dict(zip(("floor", "learned_floor"), self.floors, strict=False))
        return Entrant(reader(says), lambda seed: CombinedSurprise(DEFAULT_KIND, **given))


def measure(seen: Seen) -> Row:
    """Judge the variants by kind of attack, and how far the shipped one is ahead of each."""
    names = [group.name for group in seen.attacks]
    weighing = {"attacks": weighed(seen.case, names), "clean alone": []}
    found: Row = {"settings": {**settings(seen), "weighed": weighing["attacks"]}, "variants": {}}
    for how, attacks in weighing.items():
        variants = [Variant(placed, floors) for placed in (True, False) for floors in FLOORS[how]]
        entrants = {f"{each.name}, {how}": each.entrant() for each in variants}
        judged = taught(seen, entrants, attacks)
        shipped, aucs = next(iter(entrants)), judged.aucs()
        ahead = {
            name: {attack: judged.auc[shipped][attack] - judged.auc[name][attack] for attack in names}
            for name in entrants
        }
        found["tested"] = {name: len(judged.evaluations[0].test[name]) for name in names}
        found["variants"] |= {
            name: {
                "weighed_by": how,
                "placed": each.placed,
                "floors": each.floors,
                "auc": aucs[name],
                "kinds": intervals(by_kind(judged, name, names)),
                "shipped_beyond": intervals(beyond(judged, shipped, name, names)),
                "shipped_beyond_by_attack": intervals(ahead[name]),
            }
            for name, each in zip(entrants, variants, strict=True)
        }
    return found


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean AUC of each variant over all attacks, on minimal ones and on patches."""
    variants = table["variants"]
    shown = ("all", "minimal", "patches")
    kinds = [kind for kind in shown if all(kind in row["kinds"] for row in variants.values())]
    drawn = [Series(kind, [row["kinds"][kind] for row in variants.values()]) for kind in kinds]
    return [Panel(network, drawn, list(variants), network, axes={"xlabel": "AUC, mean over attacks"})]
