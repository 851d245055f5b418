"""The goals of extraction speed, and what the results say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = dict[str, Any]
Results = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A bound on a measured number.

    Attributes:
        title: what is measured.
        bounds: the first is the goal, further ones are better still.
        measured: of the results; None where the rows are not there.
        above: whether the number must be at least the bound, not at most.
    """

    title: str
    bounds: tuple[float, ...]
    measured: Callable[[Results], float | None]
    above: bool = False

    def met(self, value: float) -> int:
        """Return how many of the bounds a number meets."""
        return sum(value >= bound if self.above else value <= bound for bound in self.bounds)


def pick(rows: Sequence[Row], network: str, **chosen: Any) -> Row | None:
    """Return the row of a network at θ 0.5, default preset, all layers, one image, one thread, or as chosen."""
    usual = {"kind": "walk", "layers": None, "theta": 0.5, "preset": "default", "batch": 1, "threads": 1}
    for row in rows:
        if row["network"] == network and all(row[key] == value for key, value in (usual | chosen).items()):
            return row
    return None


def _value(network: str, key: str, **chosen: Any) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        row = pick(results["rows"], network, **chosen)
        return None if row is None else row[key]

    return measured


def _batch_by_one(network: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        one, eight = (pick(results["rows"], network, batch=batch) for batch in (1, 8))
        return eight["walk_ms"] / 8 / one["walk_ms"] if one and eight else None

    return measured


def _two_threads(network: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        one, two = (pick(results["rows"], network, batch=8, threads=threads) for threads in (1, 2))
        return one["walk_ms"] / two["walk_ms"] if one and two else None

    return measured


def _by_reference(network: str, preset: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        gate = pick([gate | {"batch": 1, "threads": 1} for gate in results["gates"]], network, preset=preset)
        return gate["reference_ms"] / gate["compiled_ms"] if gate else None

    return measured


def slope(rows: Sequence[Row], x: str) -> float | None:
    """Return the exponent of walk time over a number of the rows, least squares of logarithms."""
    if len(rows) < 3:
        return None
    logs = np.log([[row[x], row["walk_ms"]] for row in rows])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def swept(rows: Sequence[Row], network: str, over: str) -> list[Row]:
    """Return the full rows of a network, default preset, one thread, that differ in θ or in the batch alone."""
    fixed = {"kind": "walk", "layers": None, "preset": "default", "threads": 1}
    fixed |= {"batch": 1} if over == "theta" else {"theta": 0.5}
    found = [r for r in rows if r["network"] == network and all(r[key] == value for key, value in fixed.items())]
    return sorted(found, key=lambda row: row[over])


def _memory(network: str, *, own: bool) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        row = pick(results["rows"], network, batch=8)
        if row is None:
            return None
        held = row["bytes"]
        base = held["loaded"] if own else 0
        return (held["extracted"] - base - held["paths"]) / (held["forward"] - base)

    return measured


ALEXNET, GOOGLENET, RESNET50 = (f"data:{name}_imagenette" for name in ("alexnet", "googlenet", "resnet50"))
NAMES = {ALEXNET: "AlexNet", GOOGLENET: "GoogLeNet", RESNET50: "ResNet-50"}


def goals() -> list[Goal]:
    """Return all goals."""
    found = []
    for network, bounds in ((ALEXNET, (0.5, 0.25, 0.15)), (GOOGLENET, (2, 1, 0.5)), (RESNET50, (4, 2, 1))):
        for preset in ("default", "paper"):
            found.append(
                Goal(
                    f"{NAMES[network]}, all layers, batch 8, {preset}: walk ÷ forward", bounds,
                    _value(network, "walk_by_forward", batch=8, preset=preset),
                )
            )  # fmt: skip
    for network, bound in ((ALEXNET, 0.04), (RESNET50, 0.006)):
        name = NAMES[network]
        found += [
            Goal(f"{name}, last 3 layers, batch 8: walk ÷ forward", (bound,),
                 _value(network, "walk_by_forward", batch=8, layers=3)),
        ]  # fmt: skip
    for network, name in NAMES.items():
        found += [
            Goal(f"{name}: time per image, batch 8 ÷ batch 1", (1,), _batch_by_one(network)),
            Goal(f"{name}, batch 8: one thread ÷ two threads", (1.6,), _two_threads(network), above=True),
        ]
    for network in (ALEXNET, RESNET50):
        for preset in ("default", "paper"):
            title = f"{NAMES[network]}, {preset}: reference ÷ compiled"
            found.append(Goal(title, (50,), _by_reference(network, preset), above=True))
    for network, of in (("torchvision:alexnet", ALEXNET), ("torchvision:resnet50", RESNET50)):
        stress = {"kind": "stress", "theta": 0.25, "preset": "stress", "batch": 8}
        title = f"{NAMES[of]}, random weights, each target ¼ of the positive sum, batch 8: walk ÷ forward"
        found.append(Goal(title, (4, 2), _value(network, "walk_by_forward", **stress)))
    for network in (ALEXNET, RESNET50):
        name = NAMES[network]
        found += [
            Goal(f"{name}: exponent of time over products, θ 0.1 … 1", (1.05,),
                 lambda r, n=network: slope(swept(r["rows"], n, "theta"), "products")),
            Goal(f"{name}: exponent of time over the batch, 1 … 16", (1.05,),
                 lambda r, n=network: slope(swept(r["rows"], n, "batch"), "batch")),
        ]  # fmt: skip
    found += [
        Goal("ResNet-50, batch 8: peak without the paths ÷ peak of a forward pass, whole process", (2,),
             _memory(RESNET50, own=False)),
        Goal("the same, above what the process holds with the network loaded", (2,), _memory(RESNET50, own=True)),
    ]  # fmt: skip
    for network, of in (("data:alexnet_imagenette_1000", ALEXNET), ("data:resnet50", RESNET50)):
        step = _value(network, "step_by_forward", kind="detector", layers=3, batch=8)
        found.append(Goal(f"{NAMES[of]}, 1000 classes, batch 8: detector step ÷ forward", (1.2,), step))
    return found
