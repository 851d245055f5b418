"""What is measured: a case is one row of the results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from effpath.kernels.options import Options, make_options

Kind = Literal["walk", "stress", "detector"]
THETAS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
STRESS = Options(theta=0.25, fallback="positive", preset="stress")


@dataclass(frozen=True)
class Check:
    """Which sets must be the reference's before a row is measured.

    Attributes:
        network: see `benchmarks.networks`.
        kind: ``"stress"``: every target is a quarter of the positive sum.
        layers: the last so many; None for all.
        theta, preset: of the selection; a stress has its own.
        seed: of random weights and training.
        products: compare the last layers that have so many candidate products together, and no more.
    """

    network: str
    kind: Kind = "walk"
    layers: int | None = None
    theta: float = 0.5
    preset: str = "default"
    seed: int = 0
    products: int = 10**9

    @property
    def options(self) -> Options:
        """How is selected."""
        return STRESS if self.kind == "stress" else make_options(self.preset, theta=self.theta)


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        check: what must hold first; network, layers and options are its.
        batch: images.
        threads: of torch and of the walk.
    """

    check: Check
    batch: int = 1
    threads: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON: what tells this row from the others."""
        about = asdict(self.check)
        del about["products"]
        return about | {"batch": self.batch, "threads": self.threads}


@dataclass(frozen=True)
class Start:
    """The first extraction of a process, with an empty compilation cache or a filled one."""

    network: str
    seed: int = 0


TRAINED = tuple(f"data:{name}_imagenette" for name in ("alexnet", "googlenet", "resnet18", "resnet50"))
RANDOM = ("torchvision:vgg16", "torchvision:swin_t")
PARTS = ("main", "partial", "paper", "theta", "batch", "stress", "detector", "start")
SWEPT = ("lenet5", "data:alexnet_imagenette", "data:resnet50_imagenette")
FEW_PRODUCTS = 10**8  # compared of cases of which there are many, and of random weights: some seconds
STRESSED = {"data:alexnet_imagenette": "torchvision:alexnet", "data:resnet50_imagenette": "torchvision:resnet50"}
OF_1000_CLASSES = {
    "data:alexnet_imagenette": "data:alexnet_imagenette_1000",
    "data:resnet50_imagenette": "data:resnet50",
}


def networks() -> tuple[str, ...]:
    """Return what is measured unless networks are named: lenet5 alone where there are no trained networks."""
    return (*TRAINED, *RANDOM) if "EFFPATH_DATA" in os.environ else ("lenet5",)


def cases_of(network: str, parts: Iterable[str], seed: int) -> Iterator[Case]:
    """Yield the rows of a network, each once."""
    found: dict[Case, None] = {}
    for part in parts:
        found.update(dict.fromkeys(_part(network, part, seed)))
    return iter(found)


def _part(network: str, part: str, seed: int) -> list[Case]:
    trained, swept = not network.startswith("torchvision:"), network in SWEPT
    full = Check(network, seed=seed, products=Check.products if trained else FEW_PRODUCTS)
    if part == "main":
        return [Case(full, batch, threads) for threads in (1, 2) for batch in (1, 8) if threads == 1 or trained]
    if part == "partial":
        return [Case(replace(full, layers=k), batch) for k in (3, 10) for batch in (1, 8) if batch == 8 or swept]
    if part == "paper":
        return [Case(replace(full, preset="paper"), batch) for batch in (1, 8) if trained]
    if part == "theta":
        few = {theta: replace(full, products=FEW_PRODUCTS) if theta != full.theta else full for theta in THETAS}
        return [Case(replace(few[theta], theta=theta)) for theta in THETAS if swept]
    if part == "batch":
        return [Case(full, batch) for batch in (1, 2, 4, 8, 16) if swept]
    if part == "stress" and network in STRESSED:
        check = Check(STRESSED[network], "stress", theta=STRESS.theta, preset="stress", seed=seed)
        return [Case(replace(check, products=FEW_PRODUCTS), batch) for batch in (1, 8)]
    if part == "detector":
        name = OF_1000_CLASSES.get(network)
        return [Case(Check(name, "detector", layers=3, seed=seed), batch) for batch in (1, 8) if name]
    return []


def checks_of(cases: Sequence[Case]) -> dict[str, list[Check]]:
    """Return by network what must hold before any of its rows; detector steps check their own similarities."""
    found: dict[str, list[Check]] = {}
    for check in dict.fromkeys(case.check for case in cases):
        if check.kind != "detector":
            found.setdefault(check.network, []).append(check)
    return found
