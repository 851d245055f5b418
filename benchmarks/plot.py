"""The results as a picture: by network, over products, over the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.goals import pick, swept
from benchmarks.page import network_of
from effpath.views.page.svg import write_svg

Results = dict[str, Any]
BARS = {
    "all layers, one image": {},
    "all layers, batch 8": {"batch": 8},
    "last 10 layers, batch 8": {"layers": 10, "batch": 8},
    "last 3 layers, batch 8": {"layers": 3, "batch": 8},
}  # fmt: skip


def plot(results: Results, file: Path) -> None:
    """Draw three axes into an SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = results["rows"]
    figure = Figure(figsize=(13, 4), layout="constrained")
    by_network, over_products, over_batch = figure.subplots(1, 3)
    names = list(dict.fromkeys(row["network"] for row in rows if row["kind"] == "walk"))
    for number, (label, wanted) in enumerate(BARS.items()):
        found = {i: pick(rows, name, **wanted) for i, name in enumerate(names)}
        places = [i + 0.2 * (number - 1.5) for i, row in found.items() if row]
        by_network.bar(places, [row["walk_by_forward"] for row in found.values() if row], 0.2, label=label)
    by_network.set_xticks(range(len(names)), [network_of({"network": name}) for name in names], rotation=20)
    by_network.set(yscale="log", ylabel="walk ÷ forward, θ 0.5, one thread")
    by_network.axhline(1, color="grey", linewidth=0.8)
    for name in names:
        label = network_of({"network": name})
        thetas, batches = swept(rows, name, "theta"), swept(rows, name, "batch")
        if len(thetas) > 1:
            x, y = [row["products"] for row in thetas], [row["walk_by_forward"] for row in thetas]
            over_products.plot(x, y, "o-", label=label)
            for row in thetas:
                at = (row["products"], row["walk_by_forward"])
                over_products.annotate(f"{row['theta']:g}", at, (4, -9), textcoords="offset points", fontsize=7)
        if len(batches) > 2:
            x, y = [row["batch"] for row in batches], [row["walk_ms"] / row["batch"] for row in batches]
            over_batch.plot(x, y, "o-", label=label)
    over_products.set(xscale="log", yscale="log", xlabel="products of active outputs (at each θ), one image")
    over_products.set_ylabel("walk ÷ forward")
    over_batch.set(xscale="log", yscale="log", xlabel="batch", ylabel="walk, ms per image")
    for axes in (by_network, over_products, over_batch):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    with mpl.rc_context({"svg.fonttype": "none"}):
        write_svg(figure, file)
