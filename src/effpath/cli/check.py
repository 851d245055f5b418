"""``effpath check``: is a model supported, what is in it, what will its class paths cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import JsonOutput, Layers, NetworkSource, parse_layers
from effpath.cli.output import print_json, print_table
from effpath.files.plain import percent

if TYPE_CHECKING:
    from effpath.walk.cost import CheckResult


def check(
    source: NetworkSource,
    to: JsonOutput,
    layers: Layers = None,
    gates: Annotated[bool, typer.Option("--gates", help="Follow the paths of the gates too.")] = False,
    density: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the network in a class path, for the costs.")
    ] = 0.2,
) -> None:
    """Say whether a model is supported, what is in it and what class paths cost. Exit code 1 if it is not.

    Examples:

      effpath check torchvision:resnet50

      effpath check timm:inception_v4 --layers 3 --density 0.1

      effpath check net.py:make --input-size 3,32,32 --json
    """
    from effpath.errors import CaptureError
    from effpath.walk import cost

    network = source.open()
    shape = network.shape
    try:
        found = cost.check(network.model, shape, gates=gates, density=density, layers=parse_layers(layers))
    except CaptureError as error:
        if to.as_json:
            print_json({"model": source.model, "supported": False, "error": str(error)})
        raise
    if to.as_json:
        print_json({"model": source.model, **found.to_dict()})
    else:
        show(source.model, found)
    raise typer.Exit(0 if found.supported else 1)


def show(model: str, found: CheckResult) -> None:
    """Print what was found."""
    from rich.filesize import decimal

    if not found.supported:
        print_table(
            ["operator", "node", "module"],
            [[missing.operator, missing.node, missing.module] for missing in found.unsupported],
        )
        print(f"{model}: NOT SUPPORTED, {len(found.unsupported)} operators without a rule, the first:")
        print(f"  {found.unsupported[0].message}")
        return
    print_table(
        ["layer", "operator", "output", "neurons", "synapses", "weights"],
        [
            [layer.name, layer.operator, "×".join(map(str, layer.shape))]
            + [f"{elements:,}" for elements in (layer.neurons, layer.synapses, layer.weights)]
            for layer in found.layers
        ],
        left=3,
    )
    share = f"{percent(found.density)} of each layer"
    print("\none class path on disk:")
    print_table(
        ["level", "elements", share, f"{share}, with use counts", "at most, without counts"],
        [
            [level, f"{cost.elements:,}", *map(decimal, (cost.held, cost.counted, cost.at_most))]
            for level, cost in found.class_path.items()
        ],
        left=1,
    )
    print("a set is kept as ids, as rows of ids or as bits, whichever is smallest; a use count takes 2 bytes\n")
    print(
        f"{model}: supported; {len(found.layers)} layers, input {'×'.join(map(str, found.input_size))}, "
        f"{found.classes} classes" + ("" if found.batched else "; runs image by image")
    )
    print(
        f"memory: parameters {decimal(found.parameter_bytes)}, activations {decimal(found.activation_bytes)} "
        f"per image; one forward pass of one image: {found.forward_seconds:.3f} s, measured"
    )
