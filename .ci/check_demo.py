"""Fail where the demo's results are not what the README promises, or its report is not whole."""

import json
import sys
from pathlib import Path

LEAST = {"standard": 0.99, "surprise": 0.97, "linear": 0.95}  # AUC on every attack
HEADLINE = "standard"  # its mean AUC over the attacks is the highest

folder = Path(sys.argv[1])
results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
attacks = results["attacks"]
assert len(attacks) >= 5, f"expected five attacks, got {[attack['name'] for attack in attacks]}"
assert results["headline"] == HEADLINE, f"expected {HEADLINE} in the headline, got {results['headline']}"
aucs = {
    detector: {attack["name"]: attack["scores"][detector]["auc"][0] for attack in attacks}
    for detector in attacks[0]["scores"]
}
for detector, least in LEAST.items():
    low = {name: auc for name, auc in aucs[detector].items() if auc < least}
    assert not low, f"expected an AUC of {detector} of at least {least} on every attack, got {low}"
    print(f"demo, {detector}:", ", ".join(f"{name} {auc:.3f}" for name, auc in aucs[detector].items()))
means = {detector: sum(found.values()) / len(found) for detector, found in aucs.items()}
better = {detector: mean for detector, mean in means.items() if detector != HEADLINE and mean >= means[HEADLINE]}
assert {"surprise", "max softmax", "energy"} <= set(means), f"expected them beside {HEADLINE}, got {list(means)}"
assert not better, f"expected the highest mean AUC of {HEADLINE}, {means[HEADLINE]:.4f}, got {better}"
assert results["accuracy"] >= 0.95, results["accuracy"]
assert len(results["provenance"]["fingerprint"]) == 64, "expected the fingerprint of the network"
report = (folder / "report.html").read_text(encoding="utf-8")
assert all(attack["name"] in report for attack in attacks)
assert "AUC of the standard detector" in report
assert "AUC of joint similarity" in report
assert "of clean images show this at least as strongly" in report  # the signs of flagged images
assert report.rstrip().endswith("</html>")
