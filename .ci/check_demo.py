"""Fail where the demo's results are not what the README promises: every AUC at least 0.95, a whole report."""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
aucs = {attack["name"]: attack["scores"]["linear"]["auc"][0] for attack in results["attacks"]}
low = {name: auc for name, auc in aucs.items() if auc < 0.95}
assert len(aucs) >= 5, f"wanted five attacks, got {sorted(aucs)}"
assert not low, f"wanted AUC ≥ 0.95 for every attack, got {low}"
assert results["accuracy"] >= 0.95, results["accuracy"]
report = (folder / "report.html").read_text(encoding="utf-8")
assert all(name in report for name in aucs)
assert report.rstrip().endswith("</html>")
print("demo:", ", ".join(f"{name} {auc:.3f}" for name, auc in aucs.items()))
