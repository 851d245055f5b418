"""Pages: what their templates are given. The templates alone have HTML, and escape what they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effpath.files.cache import atomic_write
from effpath.views.difference import Difference
from effpath.views.drawing import PathDrawing
from effpath.views.explanation import Explanation
from effpath.views.page import charts, inline, pictures, sentences, words
from effpath.views.page import network as told
from effpath.views.pixels import heat, parted_heat

if TYPE_CHECKING:
    from effpath.views.report.report import Report

GIVEN = (
    *(words.count, words.listing, words.number, words.percent, words.plain, words.signed, words.unbroken),
    *(pictures.large, pictures.overlay, pictures.shot, pictures.two_paths),
    *(sentences.compared, sentences.drawn, sentences.layer_alt, sentences.pointing),
    *(sentences.strip_start, sentences.summary, sentences.verdict_of),
    *(told.apart_rows, told.apart_said, told.attack_rows, told.calibration_facts, told.calibration_said),
    *(told.class_rows, told.classes_said, told.density_rows, told.every_class, told.facts),
    *(told.findings_said, told.image_rows, told.longest, told.quantile_rows, told.width),
    *(charts.class_map, charts.suspicion, heat, parted_heat),
)


def explanations_page(found: Sequence[Explanation], network: str) -> str:
    """Return a page that explains images, as HTML that needs nothing but itself.

    Args:
        found: the explanations.
        network: its name.
    """
    flagged = sum(one.verdict.flagged for one in found)
    title = found[0].name if len(found) == 1 else f"{len(found)} images, {flagged} flagged"
    return rendered("explain.html", title=title, network=network, explanations=found)


def difference_page(found: Difference, network: str) -> str:
    """Return a page that shows where the paths of two images part."""
    return rendered("diff.html", title=" beside ".join(found.names), network=network, difference=found)


def drawing_page(found: PathDrawing, network: str) -> str:
    """Return a page that draws a path through the network, to scroll and hover."""
    scene = {**found.to_dict(), "title": found.title(found.label)}
    over = pictures.overlay(found.image, heat(found.pixels), pictures.PREDICTED)
    return rendered(
        "show.html",
        title=f"The path of {found.name}",
        network=network,
        drawing=found,
        scene={**scene, "picture": pictures.shot(over if found.by == "channels" else found.image)},
    )


def report_page(found: Report) -> str:
    """Return a page that reports a network, as HTML that needs nothing but itself."""
    return rendered(
        "report.html",
        title=found.overview.name,
        report=found,
        lead=told.introduction(found),
        tiles=told.tiles_of(found),
        titles=told.sections_of(found),
    )


def write_page(page: str, file: str | Path) -> None:
    """Write a page to a file, atomically.

    Raises:
        StoreError: the file cannot be written; an older one is left as it was.
    """
    atomic_write(Path(file), lambda temporary: temporary.write_bytes(page.encode()))


def rendered(template: str, *packages: str, **given: Any) -> str:
    """Return the page of a template.

    Args:
        template: its file name.
        packages: that have it, or what it extends, beside this one.
        given: what it shows, by name; functions too.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(package, ".") for package in (*packages, "effpath.views.page")]
    environment = Environment(loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined)
    environment.tests["nan"] = math.isnan
    environment.filters["detector"] = words.detector_name
    colours = {"predicted": pictures.PREDICTED, "runner_up": pictures.RUNNER_UP, "both": pictures.BOTH}
    functions: dict[str, Any] = {function.__name__: function for function in GIVEN}
    functions |= {"drawings": inline.drawn, "colours": colours}
    environment.globals.update(functions | given)
    return environment.get_template(template).render()
