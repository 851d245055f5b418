"""The page: what its template is given. The template alone has HTML, and escapes what it is given."""

from __future__ import annotations

import math

from jinja2 import Environment, PackageLoader, StrictUndefined

from effpath.demo.report import charts, tables, words
from effpath.demo.report.drawing import drawn
from effpath.demo.report.pictures import pictures
from effpath.demo.report.tones import as_variables, tone
from effpath.demo.result import DemoResult

GIVEN = (
    *(words.number, words.percent, words.count, words.plain, words.listing, words.ends, words.success, words.why),
    *(words.summary, words.against_baselines, words.tiles, words.source_images, words.flagged_clean),
    *(words.looks_at, words.shown_detectors),
    *(tables.attack_groups, tables.detector_labels, tables.ordered_detectors, tables.highest_auc),
    *(tables.expected_fpr, tables.class_rows, tables.density_rows, tables.paper_rows, tables.all_settings),
    tables.width,
)


def page_of(result: DemoResult) -> str:
    """Return the whole page; nothing in it is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("effpath.demo.report", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["detector"] = words.detector_name
    environment.tests["nan"] = math.isnan

    def colour(group: str) -> str:
        return as_variables(tone(result, group))

    given = {function.__name__: function for function in GIVEN}
    return environment.get_template("report.html").render(
        result=result, charts=charts, drawn=drawn, pictures=pictures, colour=colour, **given
    )
