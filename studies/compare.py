"""What differs between two runs of the same studies, and whether it is the network that does.

    python studies/compare.py docs/results/detection NEW --case lenet_digits

LeNet-5 is trained in the run, and a processor with other instructions trains other weights. Results therefore name
the fingerprint of their network: where it is another one, the studies were not repeated but made on another
network, and intervals, which leave out retraining, need not hold the new values. Where it is the same, every value
that differs is a difference of the studies. Exit code 1 where a value differs on the same network.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sources import parser, read_result

IGNORED = ("seconds", "command", "versions", "network_fingerprint")  # how a run went, not what it found


def parts(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every part of a result that says what was found, with its place."""
    yield path, tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if key not in IGNORED:
            yield from parts(value, (*path, str(key)))


def is_interval(place: tuple[str, ...], value: Any) -> bool:
    """Whether this is a [value, low, high] below an ``auc``."""
    return "auc" in place and isinstance(value, list) and [type(end) for end in value] == 3 * [float]


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what differs between two results of one study and case."""
    pair = dict(parts(before)), dict(parts(after))
    old, new = ({at: value for at, value in each.items() if not isinstance(value, dict | list)} for each in pair)
    held, now = ({at: value for at, value in each.items() if is_interval(at, value)} for each in pair)
    shared = old.keys() & new.keys()
    other = sorted(place for place in shared if old[place] != new[place])
    outside = [
        place for place, (_, low, high) in held.items() if place in now and not low <= now[place][0] <= high
    ]
    prints = before.get("network_fingerprint"), after.get("network_fingerprint")
    return {
        "network": "unknown" if None in prints else "the same" if prints[0] == prints[1] else "another",
        "values": len(shared),
        "equal": len(shared) - len(other),
        "only_before": len(old.keys() - new.keys()),
        "only_after": len(new.keys() - old.keys()),
        "differing": dict(Counter(_kind(place) for place in other).most_common()),
        "auc_intervals": len(held.keys() & now.keys()),
        "auc_outside": [" / ".join(place) for place in outside],
    }


def _kind(place: tuple[str, ...]) -> str:
    """What a value is a kind of: auc, tpr, fpr, curves …, else the first word of its place."""
    return next((key for key in ("auc", "tpr", "fpr", "curves", "median") if key in place), place[0])


def main() -> None:
    made = parser(__doc__)
    made.add_argument("before", type=Path, help="a folder of results, such as docs/results/detection")
    made.add_argument("after", type=Path, help="another, of a run of one's own")
    made.add_argument("--case", required=True)
    made.add_argument("--json", action="store_true")
    options = made.parse_args()
    found = {}
    for file in sorted(options.after.glob(f"*/{options.case}.json")):
        study = file.parent.name
        known = options.before / study / file.name
        if study != "reproduce" and known.exists():
            found[study] = compare(read_result(known), read_result(file))
    if not found:
        raise SystemExit(f"expected results of {options.case} in {options.before} and {options.after}, found none")
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        for study, row in found.items():
            print(
                f"{study}: {row['equal']} of {row['values']} values equal, the network is {row['network']}; "
                f"differing: {row['differing'] or 'none'}; {len(row['auc_outside'])} of {row['auc_intervals']} "
                "AUC outside their interval"
            )
    sys.exit(any(row["network"] == "the same" and row["differing"] for row in found.values()))


if __name__ == "__main__":
    main()
