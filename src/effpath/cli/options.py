"""Options that several commands share: declared once, in groups that a command takes as one parameter each.

A group is a dataclass; a command has an option for each of its fields.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_type_hints

import typer

if TYPE_CHECKING:
    from effpath.cli.network import Network
    from effpath.detect.saved import SavedDetector
    from effpath.files.progress import Progress
    from effpath.files.sealed import SealedFile
    from effpath.graph import Graph
    from effpath.images import Images


class Without:
    """In ``Annotated[Source, Without("part")]``: fields of a group that a command does not offer."""

    def __init__(self, *names: str) -> None:
        """Keep their names."""
        self.names = names


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer: an option for each field of each group of options that the command takes.

    A field without a default stands where its group stands; the others follow the command's own options. In the
    help, lines that are not indented are joined to paragraphs, which the terminal folds.
    """
    groups: dict[str, tuple[Any, list[str]]] = {}
    before: list[inspect.Parameter] = []
    after: list[inspect.Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        group, *extras = get_args(hints[name]) or (hints[name],)
        if not is_dataclass(group):
            before.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        left_out = [field for extra in extras for field in extra.names]
        inner = get_type_hints(group, include_extras=True)
        fields = [
            field.replace(annotation=inner[field.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for field in inspect.signature(cast(type, group)).parameters.values()
            if field.name not in left_out
        ]
        groups[name] = group, [field.name for field in fields]
        before += [field for field in fields if field.default is field.empty]
        after += [field for field in fields if field.default is not field.empty]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field: given.pop(field) for field in fields})
            for name, (group, fields) in groups.items()
        }
        command(**made, **given)

    parameters = [*before, *after]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    first, *others = (
        part if part.startswith(" ") else " ".join(part.splitlines())
        for part in inspect.cleandoc(command.__doc__ or "").split("\n\n")
    )
    run.__doc__ = "\n\n".join([first, "\n" + "\n\n".join(others)])  # typer unindents what follows the first line
    return run


of_network, of_images, of_paths = (  # panels of the help
    functools.partial(typer.Option, rich_help_panel=panel) for panel in ("Network", "Images", "Paths")
)
argument = functools.partial(typer.Argument, show_default=False)

Weights = Annotated[Path | None, of_network(help="State dict or checkpoint: .safetensors, .pt, .pth.")]
AllowPickle = Annotated[
    bool,
    of_network("--allow-pickle", help="Read --weights from a pickle of more than tensors, which can run code."),
]
InputSize = Annotated[str | None, of_network(help="C,H,W; the model's own if not given.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random: splits, attacks, weights that are not given.")]
BatchSize = Annotated[int, of_images(min=1, help="Images processed together.")]
ClassMap = Annotated[Path | None, of_images(help="JSON file, {class of the data: output of the network}.")]
Layers = Annotated[str | None, of_paths(help="The last N (3), or names (layer4.1.conv2,fc); all if not given.")]
ClassPathFile = Annotated[
    Path, typer.Option("--output", "-o", help="classes.safetensors, or the folder of a store.")
]
Data = Annotated[str, argument(help="digits, mnist:DIR, cifar10:DIR, cifar100:DIR, imagefolder:DIR or npz:FILE.")]
ImageSources = Annotated[
    list[str],
    argument(help=".npy, .npz, pictures, folders of pictures; or one data set, such as imagefolder:DIR."),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Leave out outputs for which no image is predicted correctly.")
]


@dataclass(frozen=True)
class Source:
    """Where a command's network comes from, and how its images are read."""

    model: Annotated[
        str, argument(help="torchvision:NAME, timm:NAME, path/to/file.py:factory or package.module:factory.")
    ]
    weights: Weights = None
    allow_pickle: AllowPickle = False
    classes: Annotated[
        int | None, of_network(help="Outputs of a torchvision or timm network, if not the library's number.")
    ] = None
    input_size: InputSize = None
    seed: Seed = 0
    part: Annotated[str | None, of_images(help="Part of the data: train, val, test or all.")] = None
    class_map: ClassMap = None
    skip_damaged: Annotated[
        bool,
        of_images("--skip-damaged", help="Leave out images that cannot be read; may read every image once more."),
    ] = False
    batch_size: BatchSize = 8

    @property
    def name(self) -> str:
        """The network's name for people, without the folder it lies in."""
        return self.model.rpartition("/")[2]

    def open(self) -> Network:
        """Return the network, loaded."""
        from effpath.cli.network import open_network

        return open_network(self)


@dataclass(frozen=True)
class Auxiliary:
    """The other network that a detector of kind ``paired`` asks."""

    auxiliary: Annotated[
        str | None,
        of_network(help="Another network for the same classes, for a detector of kind paired; named as MODEL is."),
    ] = None
    auxiliary_weights: Annotated[Path | None, of_network(help="Its weights, as --weights.")] = None

    def capture(
        self, network: Network, graph: Graph, images: Images | None = None, structure: str | None = None
    ) -> Graph | None:
        """Return its graph, None where none is named, beside the network's; the rest as of `Network.capture`."""
        from effpath.errors import OptionError

        if self.auxiliary is None:
            if self.auxiliary_weights is not None:
                raise OptionError(
                    "expected --auxiliary with --auxiliary-weights: they are the weights of that network"
                )
            return None
        return network.beside(self.auxiliary, self.auxiliary_weights, graph.classes).capture(images, structure)

    def open_detector(
        self, opened: SealedFile, network: Network, graph: Graph, images: Images | None = None
    ) -> SavedDetector:
        """Return the detector of an open file, with this network if one is named; images as for `capture`."""
        from effpath.detect.saved import detector_about, open_detector

        structure = detector_about(opened).get("auxiliary_structure")
        return open_detector(opened, graph, self.capture(network, graph, images, structure))


NetworkSource = Annotated[Source, Without("part", "class_map", "skip_damaged", "batch_size")]


@dataclass(frozen=True)
class Extraction:
    """Which paths a command extracts."""

    preset: Annotated[str, of_paths(help="default, paper or authors.")] = "default"
    theta: Annotated[float | None, of_paths(help="θ in (0, 1]; the preset's 0.5 if not given.")] = None
    layers: Layers = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `effpath.extract` that say the same."""
        return {"preset": self.preset, "theta": self.theta, "layers": parse_layers(self.layers)}


@dataclass(frozen=True)
class Output:
    """What a command prints."""

    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False

    def track(self, step: str, unit: str = "") -> contextlib.AbstractContextManager[Progress]:
        """Show the progress of a step, unless it is not to be shown."""
        from effpath.files.progress import track

        return track(step, unit=unit, quiet=self.quiet)


JsonOutput = Annotated[Output, Without("quiet")]


def parse_size(text: str | None) -> tuple[int, int, int] | None:
    """Return (C, H, W) of ``--input-size``."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected --input-size C,H,W such as 3,224,224, got {text!r}")
    return int(parts[0]), int(parts[1]), int(parts[2])


def parse_layers(text: str | None) -> int | list[str] | None:
    """Return the number or the names in ``--layers``."""
    if text is None:
        return None
    return int(text) if text.strip().isdecimal() else [name.strip() for name in text.split(",")]


def parse_memory(text: str | None) -> int | None:
    """Return the bytes of ``--memory``.

    >>> parse_memory("2G"), parse_memory("1.5 GiB"), parse_memory("700M")
    (2147483648, 1610612736, 734003200)
    """
    if text is None:
        return None
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    if matched is None:
        raise typer.BadParameter(f"expected --memory such as 4G or 700M, got {text!r}")
    return int(float(matched[1]) * 1024 ** (1 + "KMGT".index(matched[2].upper())))


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of ``--shard i/n``."""
    matched = re.fullmatch(r"(\d+)/(\d+)", text)
    if matched and 1 <= int(matched[1]) <= int(matched[2]):
        return int(matched[1]), int(matched[2])
    raise typer.BadParameter(f"expected --shard i/n with i in 1 … n, got {text!r}")


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
