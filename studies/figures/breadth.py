"""How many kinds of attack each detector finds (Table 2), from the results of `figures.detectors`.

An attack counts as found where half of its images are flagged at 5 % false positives.
"""

from __future__ import annotations

from drawing import Panel, Series
from sources import Row

RATE = "0.05"
FOUND = 0.5  # true positive rate at which an attack is found


def measure(result: Row) -> Row:
    """Count the attacks that each detector finds, most first, and name the one that it tells worst."""
    rows = {}
    for name, row in result["detectors"].items():
        tpr = {attack: value for attack, (value, _, _) in row["tpr"][RATE].items()}
        worst, (lowest, _, _) = min(row["auc"].items(), key=lambda pair: pair[1][0])
        rows[name] = {
            "whose": row["whose"], "found": sum(value >= FOUND for value in tpr.values()), "attacks": len(tpr),
            "lowest_auc": lowest, "lowest_attack": worst, "tpr": tpr,
        }  # fmt: skip
    ordered = sorted(rows.items(), key=lambda pair: (-pair[1]["found"], -pair[1]["lowest_auc"]))
    return {"settings": {"rate": float(RATE), "found": FOUND}, "detectors": dict(ordered)}


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the true positive rates, a row for each detector, a column for each attack."""
    rows = table["detectors"]
    drawn = [
        Series(f"{name} ({row['whose']}) {row['found']}/{row['attacks']}", list(row["tpr"].values()))
        for name, row in rows.items()
    ]
    names = list(next(iter(rows.values()))["tpr"])
    words = [
        f"{name}: {row['found']} of {row['attacks']}, lowest AUC {row['lowest_auc']:.3f} ({row['lowest_attack']})"
        for name, row in rows.items()
    ]
    return [Panel(f"{network}: share flagged at 5 % false positives", drawn, names, network, words=words)]
