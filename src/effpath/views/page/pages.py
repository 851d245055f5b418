"""Pages: what their templates are given. The templates alone have HTML, and escape what they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effpath.files.cache import atomic_write
from effpath.views.difference import Difference
from effpath.views.drawing import PathDrawing
from effpath.views.explanation import Explanation, LayerView
from effpath.views.page import pictures, sentences, words
from effpath.views.pixels import heat

GIVEN = (
    *(words.count, words.number, words.percent, words.signed),
    *(pictures.large, pictures.overlay, pictures.shot, pictures.two_paths),
    *(sentences.compared, sentences.drawn, sentences.layer_alt, sentences.summary, sentences.verdict_of),
    heat,
)


def explanations_page(found: Sequence[Explanation], network: str) -> str:
    """Return a page that explains images, as HTML that needs nothing but itself.

    Args:
        found: the explanations.
        network: its name.
    """
    flagged = sum(one.verdict.flagged for one in found)
    title = found[0].name if len(found) == 1 else f"{len(found)} images, {flagged} flagged"
    return _rendered("explain.html", title=title, network=network, explanations=found, start=strip_start)


def difference_page(found: Difference, network: str) -> str:
    """Return a page that shows where the paths of two images part."""
    return _rendered("diff.html", title=" beside ".join(found.names), network=network, difference=found)


def drawing_page(found: PathDrawing, network: str) -> str:
    """Return a page that draws a path through the network, to scroll and hover."""
    scene = {**found.to_dict(), "title": found.title(found.label)}
    over = pictures.overlay(found.image, heat(found.pixels), pictures.PREDICTED)
    return _rendered(
        "show.html",
        title=f"The path of {found.name}",
        network=network,
        drawing=found,
        scene={**scene, "picture": pictures.shot(over if found.by == "channels" else found.image)},
    )


def write_page(page: str, file: str | Path) -> None:
    """Write a page to a file, atomically.

    Raises:
        StoreError: the file cannot be written; an older one is left as it was.
    """
    atomic_write(Path(file), lambda temporary: temporary.write_bytes(page.encode()))


def strip_start(layers: Sequence[LayerView]) -> float:
    """Return where the scale of similarities begins, a multiple of 0.1 below all that is shown; it ends at 1.

    >>> strip_start([])
    0.0
    """
    known = [value for layer in layers for value in (layer.similarity, layer.low) if not math.isnan(value)]
    return math.floor(10 * min(known, default=0.0) - 1e-9) / 10 if known and min(known) > 0.1 else 0.0


def _rendered(template: str, **given: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("effpath.views.page", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.tests["nan"] = math.isnan
    given |= {function.__name__: function for function in GIVEN}
    colours = {"predicted": pictures.PREDICTED, "runner_up": pictures.RUNNER_UP, "both": pictures.BOTH}
    return environment.get_template(template).render(colours=colours, **given)
