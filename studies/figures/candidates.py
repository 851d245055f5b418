"""Signs that no profile has: each alone, and what it would add to the default.

The default is combined of its own signs and of these with each, and weighed by the attacks of `figures.profiles`;
differences are paired over the same resamples. A sign whose suspicious end is not known is not judged alone.
Harmless squares as large as patches may show a sign too: the share of controls that is flagged, with each sign and
without, stands beside.
"""

from __future__ import annotations

from detection.judge import Resampled, intervals, settings
from detection.product import alone, entrant, weighed
from detection.seen import Seen
from detection.signs import TRIED
from drawing import Panel, Series
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.sign import Sign
from figures.controls import flags
from figures.profiles import beyond, by_kind, taught
from sources import Row


def measure(seen: Seen) -> Row:
    """Judge each sign alone, and the default with it and without."""
    says = PROFILES[DEFAULT_KIND].says
    signs = {" / ".join(sign.says): sign for sign in TRIED}
    singles = {_alone(title): alone(title) for title, sign in signs.items() if sign.direction}  # of one column
    combined = {title: entrant(DEFAULT_KIND, [*says, *sign.says]) for title, sign in signs.items()}
    entrants = {DEFAULT_KIND: entrant(DEFAULT_KIND, says), **combined, **singles}
    names = [group.name for group in seen.attacks]
    weighing = weighed(seen.case, names)
    judged = taught(seen, entrants, weighing)
    aucs = judged.aucs()
    return {
        "settings": {**settings(seen), "weighed": weighing, "compared": DEFAULT_KIND},
        "tested": {name: len(judged.evaluations[0].test[name]) for name in names},
        "auc": {name: aucs[name] for name in entrants},
        "signs": {title: _row(judged, title, sign, names) for title, sign in signs.items()},
        "flagged": {
            name: intervals(flags(seen, judged.evaluations, name, entrants)[0])
            for name in (DEFAULT_KIND, *combined)
        },
    }


def _row(judged: Resampled, title: str, sign: Sign, names: list[str]) -> Row:
    """Return what a sign costs, shows by itself, and adds by kind of attack and by attack."""
    added = {name: judged.auc[title][name] - judged.auc[DEFAULT_KIND][name] for name in names}
    found: Row = {
        "passes": sign.passes,
        "walks": sign.walks,
        "added": intervals(beyond(judged, title, DEFAULT_KIND, names)),
        "added_by_attack": intervals(added),
    }
    if sign.direction:
        found["alone"] = intervals(by_kind(judged, _alone(title), names))
    return found


def _alone(title: str) -> str:
    return f"{title}, alone"


def panels(network: str, table: Row) -> list[Panel]:
    """Draw what each sign adds over all attacks, on strong ones and on patches; one of two ends by the first."""
    signs = table["signs"]
    kinds = [kind for kind in ("all", "strong", "patches") if all(kind in row["added"] for row in signs.values())]
    drawn = [Series(kind, [row["added"][kind] for row in signs.values()]) for kind in kinds]
    titles = [title.split(" / ")[0] for title in signs]
    return [Panel(network, drawn, titles, network, axes={"xlabel": f"AUC beyond {table['settings']['compared']}"})]
