"""What studies share: opening or training a network, and writing and drawing what was found."""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

import effpath
from effpath.data import Dataset, align_labels, load_data
from effpath.demo.network import trained_lenet
from effpath.files.cache import atomic_write, default_cache_dir
from effpath.files.progress import track
from effpath.images import format_of
from effpath.models import load_model
from effpath.models.library import imagenet_ids


def open_network(model_spec: str, data_spec: str) -> tuple[nn.Module, Dataset]:
    """Return a model and the data in its format, labelled by the outputs of the model."""
    model = load_model(model_spec)
    data = load_data(data_spec, picture_format=format_of(model))
    part = next(iter(data.parts.values()))
    with torch.no_grad():
        outputs = model(part.images[:1]).shape[1]
    namings = tuple(getattr(model, "classes", ())), imagenet_ids() if outputs == 1000 else ()
    output = align_labels(data.classes, outputs, *namings)
    names = {int(index): name for index, name in zip(output, data.classes, strict=True)}
    known = namings[0] if len(namings[0]) == outputs else [names.get(i, str(i)) for i in range(outputs)]
    return model, data.relabelled(output, tuple(known))


def train_lenet(data: Dataset, seed: int) -> nn.Module:
    """Return LeNet-5 trained as the demo does, once; on other data as on MNIST."""
    with track("training LeNet-5") as progress:
        return trained_lenet(
            data.train_images, data.train_labels, classes=len(data.classes), data=data.name, seed=seed,
            folder=default_cache_dir(), progress=progress,
        )  # fmt: skip


def is_done(options: argparse.Namespace, plot: Callable[[Mapping[str, Any], Path], None]) -> bool:
    """Draw the results that ``--plot`` names, or say that the output is there; then nothing is to be measured."""
    if options.plot:
        plot({file.stem: read_result(file) for file in options.plot}, options.output)
        return True
    if options.output.exists():
        print(f"{options.output} is there; delete it to have it made again")
        return True
    return False


def write_result(table: Mapping[str, Any], file: Path) -> None:
    """Write a table as JSON with the command that made it; data folders below $EFFPATH_DATA are named so."""
    folder = os.environ.get("EFFPATH_DATA", "")
    words = [word.replace(folder, "$EFFPATH_DATA") if folder else word for word in sys.argv[1:]]
    script = Path(sys.argv[0]).name
    about = {
        "command": f"python studies/{script} " + " ".join(w if "$" in w else shlex.quote(w) for w in words),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "effpath": effpath.__version__
        },
    }  # fmt: skip
    text = written({**table, **about}) + "\n"
    write_text(text, file)


def written(value: Any, indent: int = 0) -> str:
    """Return JSON with a line for each key, and lists of plain values on one."""
    if isinstance(value, Mapping) and value:
        inner = [
            f"{' ' * (indent + 1)}{json.dumps(key)}: {written(own, indent + 1)}" for key, own in value.items()
        ]
        return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"
    if isinstance(value, list | tuple) and any(isinstance(own, Mapping | list | tuple) for own in value):
        inner = [" " * (indent + 1) + written(own, indent + 1) for own in value]
        return "[\n" + ",\n".join(inner) + "\n" + " " * indent + "]"
    return json.dumps(value)


def read_result(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def write_text(text: str, file: Path) -> None:
    """Write a text in one step."""
    atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_figure(figure: Any, file: Path) -> None:
    """Write an SVG, the same for the same numbers, or a small PNG, by the name of the file."""
    import matplotlib

    if file.suffix == ".png":
        atomic_write(file, partial(_write_png, figure))
        return
    with matplotlib.rc_context({"svg.hashsalt": "effpath"}):
        atomic_write(file, partial(figure.savefig, format="svg", metadata={"Date": None}))


def _write_png(figure: Any, file: Path) -> None:
    """Write 64 colours: a picture of lines and letters takes a third of the bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80)
    Image.open(drawn).convert("RGB").quantize(64).save(file, format="PNG", optimize=True)
