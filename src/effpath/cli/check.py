"""``effpath check``: is a model supported, what is in it, what will its class paths cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from effpath.cli.options import AllowPickle, AsJson, Classes, InputSize, Layers, Model, Seed, Weights, parse_layers

if TYPE_CHECKING:
    from effpath.walk.cost import CheckResult


def check(
    model: Model,
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    seed: Seed = 0,
    classes: Classes = None,
    input_size: InputSize = None,
    layers: Layers = None,
    gates: Annotated[bool, typer.Option("--gates", help="Follow the gates' own path too.")] = False,
    density: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the network in a class path, for the costs.")
    ] = 0.2,
    as_json: AsJson = False,
) -> None:
    """Say whether a model is supported, what is in it and what class paths cost. Exit code 1 if it is not.

    Examples:

      effpath check torchvision:resnet50

      effpath check timm:inception_v4 --layers 3 --density 0.1

      effpath check net.py:make --input-size 3,32,32 --json
    """
    from effpath.cli.output import plain_console, print_json
    from effpath.cli.sources import open_model
    from effpath.errors import CaptureError, InputError
    from effpath.images import unknown_size
    from effpath.walk import cost

    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    if wanted is None:
        raise InputError(unknown_size(model))
    try:
        found = cost.check(network, wanted.shape, gates=gates, density=density, layers=parse_layers(layers))
    except CaptureError as error:
        if as_json:
            print_json({"model": model, "supported": False, "error": str(error)})
        raise
    if as_json:
        print_json({"model": model, **found.to_dict()})
    else:
        show(model, found, plain_console(140))
    raise typer.Exit(0 if found.supported else 1)


def show(model: str, found: CheckResult, console: Console) -> None:
    """Print what was found."""
    size = "×".join(map(str, found.input_size))
    if not found.supported:
        table = Table("operator", "node", "module", title="operators without a rule")
        for missing in found.unsupported:
            table.add_row(missing.operator, missing.node, missing.module)
        console.print(table)
        print(f"{model}: NOT SUPPORTED, {len(found.unsupported)} operators without a rule, the first:")
        print(f"  {found.unsupported[0].message}")
        return
    table = Table("layer", "operator", "output")
    for name in ("neurons", "synapses", "weights"):
        table.add_column(name, justify="right")
    for layer in found.layers:
        sizes = [f"{n:,}" for n in (layer.neurons, layer.synapses, layer.weights)]
        table.add_row(layer.name, layer.operator, "×".join(map(str, layer.shape)), *sizes)
    console.print(table)
    costs = Table(
        "level",
        title="one class path on disk",
    )
    share = f"{found.density:.0%} of each layer"
    for name in ("elements", share, f"{share}, with use counts", "at most, without counts"):
        costs.add_column(name, justify="right")
    for level, cost in found.class_path.items():
        costs.add_row(level, f"{cost.elements:,}", *map(readable, (cost.held, cost.counted, cost.at_most)))
    console.print(costs)
    print("a set is kept as ids, as rows of ids or as bits, whichever is smallest; a use count takes 2 bytes")
    print(
        f"{model}: supported; {len(found.layers)} layers, input {size}, {found.classes} classes"
        + ("" if found.batched else "; runs image by image")
    )
    print(
        f"memory: parameters {readable(found.parameter_bytes)}, activations {readable(found.activation_bytes)} an "
        f"image; one forward pass of one image: {found.forward_seconds:.3f} s, measured"
    )


def readable(count: int) -> str:
    """Return a number of bytes for people: 1.2 MB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
