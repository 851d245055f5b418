"""What was measured of attributions: curves, maps, and the tables of docs/gallery.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from attribution.faithful import KINDS, PATH, RANDOM
from drawing import Panel, Series, curves
from page_parts import markdown, part, with_interval
from sources import Row, read_result

LEVELS = 99  # of a kept map, on either side of 0
ORDER = ("lenet_digits", "lenet_mnist", "resnet18_imagenette", "alexnet_imagenette")  # of the page


def as_text(values: Tensor) -> str:
    """Return values as whole numbers of at most 99, apart from a factor.

    >>> import torch
    >>> as_text(torch.tensor([0.5, -1.0, 0.0]))
    '50 -99 0'
    """
    top = float(values.abs().max())
    scaled = (values.double() * (LEVELS / top if top > 0 else 0)).round().int()
    return " ".join(map(str, scaled.tolist()))


def from_text(text: str, shape: Sequence[int]) -> np.ndarray:
    """Return the values that a text holds, in −1 … 1, [H, W].

    >>> from_text("99 0", (1, 2)).tolist()
    [[1.0, 0.0]]
    """
    return np.array(text.split(), float).reshape(tuple(shape)) / LEVELS


def squares(side: str | int) -> str:
    """Say what is removed together.

    >>> squares("1"), squares(8)
    ('single pixels', '8 × 8 pixels')
    """
    return "single pixels" if int(side) == 1 else f"{side} × {side} pixels"


# ---------------------------------------------------------------- pictures


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the mean curves, a line of frames for each size of squares."""
    found = []
    for side, row in table["cells"].items():
        for kind in KINDS:
            drawn = [
                Series(name, curve, np.linspace(0, 1, len(curve)).tolist())
                for name, curve in row[kind]["curves"].items()
            ]
            what = "removed" if kind == "deletion" else "shown"
            axes = {"xlabel": f"share of the pixels {what}", "ylabel": "probability of the class"}
            title = f"{network}, n = {table['images']}\n{kind}, {squares(side)}"
            found.append(Panel(title, drawn, row=f"{network} {side}", span=(0, 1.02), axes=axes))
    return found


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the curves of several networks."""
    curves([panel for name in in_order(tables) for panel in panels(name, tables[name])], file, 2)


def maps_figure(table: Row) -> Figure:
    """Draw the kept maps: a line for each image, a column for each method."""
    shown = table["shown"]
    kept = {"image": shown["pictures"], **shown["maps"]} if "pictures" in shown else shown["maps"]
    columns = {name: [from_text(text, shown["shape"]) for text in texts] for name, texts in kept.items()}
    return map_grid(columns, shown["titles"])


def map_grid(
    columns: Mapping[str, Sequence[np.ndarray]],
    titles: Sequence[str],
    most: str = "for it (1 is the largest value of each map)",
) -> Figure:
    """Draw images and maps, a line for each image, a column for each name.

    Args:
        columns: by name, an array for each image: a map [H, W] in −1 … 1; under ``image`` a picture, [H, W] or
            [H, W, 3] in 0 … 1.
        titles: of the images.
        most: what the largest value means.
    """
    figure = Figure(figsize=(1.35 * len(columns) + 0.5, 1.35 * len(titles) + 0.9), layout="constrained")
    grid = figure.subplots(len(titles), len(columns), squeeze=False)
    drawn: Any = None
    for column, (name, images) in enumerate(columns.items()):
        for row, (image, axes) in enumerate(zip(images, grid[:, column], strict=True)):
            if name == "image":
                axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            else:
                drawn = axes.imshow(image, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            if not row:
                axes.set_title(name, fontsize="small")
            if not column:
                axes.set_ylabel(titles[row], fontsize="x-small")
    bar = figure.colorbar(drawn, ax=grid, location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.set_ticks([-1, 0, 1], labels=["against the class", "0", most])
    bar.ax.tick_params(labelsize="x-small")
    return figure


# ---------------------------------------------------------------- the page


def in_order(names: Mapping[str, Any]) -> list[str]:
    return [name for name in (*ORDER, *sorted(set(names) - set(ORDER))) if name in names]


def _tables(results: Path) -> dict[str, Row]:
    found = {file.stem: read_result(file) for file in (results / "attributions").glob("*.json")}
    return {name: found[name] for name in in_order(found)}


@part
def faithfulness(results: Path) -> str:
    """The areas of every network, size of squares and method."""
    head = ["network", "together", "method", "deletion, AUC (less is better)", "beyond random"]
    head += ["insertion, AUC (more is better)", "beyond random", "processor seconds per image"]
    lines = []
    for network, table in _tables(results).items():
        for side, row in table["cells"].items():
            for name, seconds in table["seconds_per_image"].items():
                cells = [f"{network}, n = {table['images']}", squares(side), name]
                for kind in KINDS:
                    beyond = row[kind]["beyond"][RANDOM].get(name)
                    cells.append(with_interval(row[kind]["auc"][name]))
                    cells.append(with_interval(beyond, "+.3f") if beyond else "–")
                lines.append([*cells, f"{seconds:.3g}"])
    return markdown(head, lines)


@part
def more_faithful(results: Path) -> str:
    """Which methods the pixel path is more faithful than, and which less, in words."""
    return "\n".join(
        f"- **{network}**, {squares(side)}, {kind}: {standing(row[kind])}"
        for network, table in _tables(results).items()
        for side, row in table["cells"].items()
        for kind in KINDS
    )


def standing(row: Row) -> str:
    """Say where the path stands among the methods; what it loses to is said as what it wins against."""
    beyond = row["path_beyond"]
    place = 1 + sum(difference < 0 for difference, _, _ in beyond.values())
    groups = {
        "more faithful than": [name for name, (_, low, _) in beyond.items() if low > 0],
        "**less faithful than**": [name for name, (_, _, high) in beyond.items() if high < 0],
        "not told apart from": [name for name, (_, low, high) in beyond.items() if low <= 0 <= high],
    }
    said = [
        f"{how} " + ", ".join(f"{name} ({with_interval(beyond[name], '+.3f')})" for name in names)
        for how, names in groups.items()
        if names
    ]
    return f"the {PATH} is number {place} of {len(row['auc'])}; {'; '.join(said)}."
