"""What class paths of so many images cost, computed from what was measured: processor hours, disk, the reduce.

    python -m benchmarks.stores.cost --images 1281167 --classes 1000 --workers 64

Rates are those of `benchmarks.run` (one core, batches of 8, nothing else running), sizes those of
`benchmarks.stores.sizes`, times of the reduce those of `benchmarks.stores.reduce`, all read from docs/results.
Sizes were measured up to some images of a class; beyond, they are extrapolated by the power law through the last
two, which is too much where growth slows down. The reduce: each class over the shards that it is in, spread over
the workers. The merge: stores of as many parts as there are workers, in each of which is every class, by one
process. Both go by the line of what is kept: synapses, neurons or weights.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any

from benchmarks.goals import pick
from benchmarks.page import table
from benchmarks.stores.result import RESULTS, number, read_result, short
from benchmarks.stores.sizes import CLASSES, IMAGES, KEPT, NETWORKS, grown, kept_of

WORKERS, SHARD = 64, 512
RECORD = 25  # bytes that a store keeps of an image: digest, row, label, outcome
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be built.

    Attributes:
        images, classes: of the data.
        workers: each has one core.
        shard: images of one.
    """

    images: int = IMAGES
    classes: int = CLASSES
    workers: int = WORKERS
    shard: int = SHARD

    @property
    def per_class(self) -> float:
        """Images of a class."""
        return self.images / self.classes


def seconds_per_image(bench: Row, network: str, layers: int | None) -> float | None:
    """Return what extraction of one image takes on one core; None where it was not measured."""
    row = pick(bench["rows"], f"data:{network}", layers=layers, batch=8)
    return None if row is None else row["extract_ms"] / 8e3


def reduce_seconds(line: Row, shards: float, ids: float) -> float:
    """Return what uniting one class takes on one core."""
    return line["seconds"] + line["seconds_per_shard"] * shards + line["seconds_per_id"] * ids


def costs(plan: Plan) -> list[Row]:
    """Return a row for each network and what is kept of it."""
    bench = json.loads((RESULTS.parent / "bench.json").read_text(encoding="utf-8"))
    sizes, line = read_result("sizes"), read_result("reduce")
    if sizes is None or line is None:
        return []
    rows = []
    for network in NETWORKS:
        measured = sizes["networks"].get(network)
        if measured is None:
            continue
        for kept in kept_of(measured["of_layers"]):
            seconds = seconds_per_image(bench, network, KEPT[kept].get("layers"))
            if seconds is None:
                continue
            growth, level = measured["growth"], KEPT[kept]["levels"]
            own = line["lines"].get(level, line["lines"]["without"])
            met = min(plan.per_class / plan.shard + 1, plan.per_class)  # shards that a class is in, class by class
            apart = min(plan.workers, plan.per_class)  # parts of --shard that a class is in
            in_one = met * grown(growth, kept, plan.per_class / met, "ids")
            in_parts = apart * grown(growth, kept, plan.per_class / apart, "ids")
            rows.append({
                "network": network, "kept": kept,
                "images_per_s": 1 / seconds, "core_hours": plan.images * seconds / 3600,
                "hours": plan.images * seconds / 3600 / plan.workers,
                "bytes": plan.classes * grown(growth, kept, plan.per_class) + RECORD * plan.images,
                "reduce_s": plan.classes * reduce_seconds(own, met, in_one) / plan.workers,
                "merge_s": plan.classes * reduce_seconds(own, apart, in_parts),
            })  # fmt: skip
    return rows


def cost_table(plan: Plan) -> str:
    """Return the rows as Markdown."""
    lines = [
        [
            short(row["network"]), row["kept"], f"{row['images_per_s']:.1f}",
            *(number(row[key]) for key in ("core_hours", "hours")), number(row["bytes"] / 1e9),
            number(row["reduce_s"]), number(row["merge_s"] / 60),
        ]
        for row in costs(plan)
    ]  # fmt: skip
    heads = ["network", "kept", "images per s and core", "core hours", f"hours with {plan.workers} cores",
             "store, GB", f"reduce by {plan.workers}, s", f"merge of {plan.workers} parts, minutes"]  # fmt: skip
    return table(heads, lines)


def shown() -> str:
    """Return what ImageNet costs."""
    plan = Plan()
    command = f"--images {plan.images} --classes {plan.classes} --workers {plan.workers}"
    line, more = read_result("reduce"), ""
    if line is not None and "neurons" not in line["lines"]:
        more = (
            " The reduce and the merge of neurons and weights are reckoned as of so many synapses: for neurons, "
            "which are kept as bits and united 64 at a time, that is too much."
        )
    by = f"`python -m benchmarks.stores.cost {command}`"
    return f"Computed, not measured, by {by}.{more}\n\n{cost_table(plan)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--workers", type=int, default=WORKERS, help="cores")
    asked = parser.parse_args()
    print(cost_table(Plan(asked.images, asked.classes, asked.workers)))


if __name__ == "__main__":
    main()
