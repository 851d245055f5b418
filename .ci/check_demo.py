"""Fail where the demo's results are not what the README promises, or its report is not whole."""

import json
import sys
from pathlib import Path

LEAST = {"surprise": 0.97, "linear": 0.95}  # AUC on every attack: of the headline, and of the paper's detector

folder = Path(sys.argv[1])
results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
assert len(results["attacks"]) >= 5, f"expected five attacks, got {[a['name'] for a in results['attacks']]}"
assert results["headline"] == "surprise", f"expected joint surprise in the headline, got {results['headline']}"
for detector, least in LEAST.items():
    aucs = {attack["name"]: attack["scores"][detector]["auc"][0] for attack in results["attacks"]}
    low = {name: auc for name, auc in aucs.items() if auc < least}
    assert not low, f"expected an AUC of {detector} of at least {least} on every attack, got {low}"
    print(f"demo, {detector}:", ", ".join(f"{name} {auc:.3f}" for name, auc in aucs.items()))
assert results["accuracy"] >= 0.95, results["accuracy"]
assert len(results["provenance"]["fingerprint"]) == 64, "expected the fingerprint of the network"
report = (folder / "report.html").read_text(encoding="utf-8")
assert all(attack["name"] in report for attack in results["attacks"])
assert "AUC of joint surprise" in report
assert "AUC of joint similarity" in report
assert report.rstrip().endswith("</html>")
