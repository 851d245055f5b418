"""The demo's result as one HTML page that needs nothing but itself.

The template alone has HTML, and escapes what it is given: the result, and the functions that put it into words.
"""

from __future__ import annotations

import math
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from effpath.demo.report import charts, tables, words
from effpath.demo.report.drawing import as_variables, drawn, pictures, tone
from effpath.demo.result import DemoResult
from effpath.errors import InputError
from effpath.views.page.pages import write_page

__all__ = ["write_report"]


def write_report(result: DemoResult, file: Path) -> None:
    """Write the report: text, tables and figures in one self-contained HTML file, the same bytes each time.

    Raises:
        InputError: the result holds no attack.
        StoreError: the file cannot be written; an older one is left as it was.
    """
    if not result.attacks:
        raise InputError("the result holds no attack, so there is nothing to report; run the demo with one")
    loaders = [PackageLoader(package, ".") for package in ("effpath.demo.report", "effpath.views.page")]
    environment = Environment(loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined)
    environment.filters["detector"] = words.detector_name
    environment.tests["nan"] = math.isnan
    for part in (words, tables):
        environment.globals.update({name: given for name, given in vars(part).items() if not name.startswith("_")})
    template = environment.get_template("report.html")
    write_page(
        template.render(
            result=result, charts=charts, drawn=drawn, pictures=pictures, tone=tone, as_variables=as_variables
        ),
        file,
    )
