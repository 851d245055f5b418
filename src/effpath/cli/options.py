"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str,
    typer.Argument(
        help="torchvision:NAME, timm:NAME, path/to/file.py:factory or package.module:factory.", show_default=False
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        help="digits, mnist:DIR, cifar10:DIR, cifar100:DIR, imagefolder:DIR or npz:FILE.", show_default=False
    ),
]
ImageSources = Annotated[
    list[str],
    typer.Argument(
        help=".npy, .npz, pictures, folders of pictures; or one data set, such as imagefolder:DIR.",
        show_default=False,
    ),
]
ClassPathFile = Annotated[Path, typer.Option("--output", "-o", help="classes.safetensors.")]
Weights = Annotated[Path | None, typer.Option(help="State dict or checkpoint: .safetensors, .pt, .pth.")]
AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Read --weights from a pickle of more than tensors: it can run code."),
]
Seed = Annotated[int, typer.Option(help="Of random weights and splits.")]
Classes = Annotated[
    int | None, typer.Option(help="Outputs of a torchvision or timm network, if not the library's own number.")
]
InputSize = Annotated[str | None, typer.Option(help="C,H,W; the model's own if not given.")]
Preset = Annotated[str, typer.Option(help="default, paper or authors.")]
Theta = Annotated[float | None, typer.Option(help="θ in (0, 1]; the preset's 0.5 if not given.")]
Layers = Annotated[
    str | None, typer.Option(help="The last so many (3), or names (layer4.1.conv2,fc); all if not given.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images extracted together.")]
Part = Annotated[str | None, typer.Option(help="Part of the data: train, val, test or all.")]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave out pictures that cannot be read; reads each one before.")
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Leave out outputs without an image that is predicted correctly.")
]
ClassMap = Annotated[Path | None, typer.Option(help="JSON file, {class of the data: output of the network}.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def parse_size(text: str | None) -> tuple[int, int, int] | None:
    """Return (C, H, W) of ``--input-size``."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected --input-size C,H,W such as 3,224,224, got {text!r}")
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def parse_layers(text: str | None) -> int | list[str] | None:
    """Return the number or the names in ``--layers``."""
    if text is None:
        return None
    return int(text) if text.strip().isdecimal() else [name.strip() for name in text.split(",")]


def parse_attack(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and settings of an attack.

    >>> parse_attack("PGD:epsilon=0.3,steps=40"), parse_attack("Universal:file=v.npy")
    (('PGD', {'epsilon': 0.3, 'steps': 40}), ('Universal', {'file': 'v.npy'}))
    """
    name, _, rest = text.partition(":")
    settings: dict[str, Any] = {}
    for pair in rest.split(",") if rest else []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"expected NAME or NAME:setting=value,setting=value, got {text!r}")
        settings[key.strip()] = value
        with contextlib.suppress(ValueError, SyntaxError):
            settings[key.strip()] = ast.literal_eval(value)
    return name, settings
