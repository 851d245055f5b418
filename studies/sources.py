"""What studies share: their command lines, opening or training a network, and results in files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import effpath
from effpath.data import Dataset, load_data
from effpath.data.labels import by_outputs
from effpath.demo.network import trained_lenet
from effpath.errors import InputError
from effpath.files.cache import atomic_write, default_cache_dir, note_step
from effpath.files.progress import track
from effpath.images import format_of
from effpath.models import load_model
from effpath.models.predict import count_classes

Row = dict[str, Any]
NETWORK_OPTIONS: dict[str, Row] = {
    "model": {"help": "FILE.py:factory or a library's model"},
    "data": {"help": "imagefolder:DIR, cifar10:DIR …"},
}


def place_of(spec: str) -> str:
    """Return a name of data or of a model with its variables in it."""
    expanded = os.path.expandvars(spec)
    if "$" in expanded:
        raise InputError(f"expected the folder that {spec} names; set that variable")
    return expanded


def open_network(model_spec: str, data_spec: str) -> tuple[nn.Module, Dataset]:
    """Return a model and the data in its format, labelled by the outputs of the model."""
    model = load_model(model_spec)
    data = load_data(data_spec, picture_format=format_of(model))
    return model, by_outputs(data, model, count_classes(model, next(iter(data.parts.values())).images))


def train_lenet(data: Dataset, seed: int) -> nn.Module:
    """Return LeNet-5 trained as the demo does, once; on other data as on MNIST."""
    with track("training LeNet-5") as progress:
        return trained_lenet(
            data.train_images, data.train_labels, classes=len(data.classes), data=data.name, seed=seed,
            folder=default_cache_dir(), progress=progress,
        )  # fmt: skip


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the text above a study."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def run_study(
    doc: str | None,
    options: Mapping[str, Mapping[str, Any]],
    measure: Callable[..., Mapping[str, Any]],
    draw: Callable[[Mapping[str, Any], Path], None],
) -> None:
    """Run a study from the command line: draw the results that ``--plot`` names, or measure and write one.

    Args:
        doc: of the study, for ``--help``.
        options: of ``add_argument``, by name, beside ``--plot`` and ``--output``.
        measure: from the options that were given, by keyword, to a table; a result that is there is kept.
        draw: draws tables by network.
    """
    made = parser(doc)
    made.add_argument("--plot", type=Path, nargs="+", help="draw these results instead of measuring")
    made.add_argument("--output", type=Path, required=True, help="a .json file; an .svg file with --plot")
    for name, how in options.items():
        made.add_argument(f"--{name}", **how)
    given = vars(made.parse_args())
    plot, output = given.pop("plot"), given.pop("output")
    if plot:
        draw({file.stem: read_result(file) for file in plot}, output)
    elif output.exists():
        print(f"{output} is there; delete it to have it made again")
    else:
        torch.set_num_threads(1)
        table = measure(**{name: value for name, value in given.items() if value is not None})
        write_result({"network": output.stem, **table}, output)


def write_result(table: Mapping[str, Any], file: Path, libraries: Sequence[str] = ()) -> None:
    """Write a table as JSON with the command that made it; data folders below $EFFPATH_DATA are named so.

    ``libraries``: whose versions are named too.
    """
    folder = os.environ.get("EFFPATH_DATA", "")
    words = [word.replace(folder, "$EFFPATH_DATA") if folder else word for word in sys.argv[1:]]
    script = Path(sys.argv[0]).name
    about = {
        "command": f"python studies/{script} " + " ".join(w if "$" in w else shlex.quote(w) for w in words),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "effpath": effpath.__version__,
            **{name: version(name) for name in libraries},
        },
    }  # fmt: skip
    write_json({**table, **about}, file)


def write_json(table: Mapping[str, Any], file: Path) -> None:
    write_text(written(table) + "\n", file)


def written(value: Any, indent: int = 0) -> str:
    """Return JSON with a line for each key, and lists of plain values on one."""
    inner = " " * (indent + 1)
    if isinstance(value, Mapping) and value:
        lines = [f"{inner}{json.dumps(key)}: {written(item, indent + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{' ' * indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return "[\n" + ",\n".join(inner + written(item, indent + 1) for item in value) + f"\n{' ' * indent}]"
    return json.dumps(value)


def once(file: Path, make: Callable[[], Row]) -> Row:
    """Read a table from its file; where there is none it is made and written first, so killed work goes on."""
    if not file.exists():
        write_json(make(), file)
        note_step(file)
    return read_result(file)


def read_result(file: Path) -> Row:
    return json.loads(file.read_text(encoding="utf-8"))


def write_text(text: str, file: Path) -> None:
    """Write a text in one step."""
    atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_arrays(file: Path, **arrays: np.ndarray) -> None:
    """Write compressed arrays in one step, under the name as it is."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as opened:
            np.savez_compressed(opened, **arrays)

    atomic_write(file, write)
