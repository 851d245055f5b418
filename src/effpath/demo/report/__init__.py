"""The demo's result as a report: that of its network, with its attacks and detectors, on one page.

The template alone has HTML, and escapes what it is given: the result, and the functions that put it into words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from effpath.demo.report import charts, tables, words
from effpath.demo.report.drawing import pictures, tone
from effpath.demo.result import DemoResult
from effpath.errors import InputError
from effpath.views.page.inline import as_variables, drawn
from effpath.views.page.network import TITLES
from effpath.views.page.pages import rendered, write_page
from effpath.views.page.words import DASH, DETECTORS

__all__ = ["write_report"]

_SECTIONS = {
    "attacks": "Attacks and detectors",
    **{key: TITLES[key] for key in ("network", "classes", "apart")},
    "layers": "Similarity, layer by layer",
    "roc": "ROC curves",
    "scores": "Suspicion scores",
    "examples": "Flagged images",
    "density": TITLES["density"],
    "provenance": "How this was made",
}


def write_report(result: DemoResult, file: Path) -> None:
    """Write the report: text, tables and figures in one self-contained HTML file, the same bytes each time.

    Raises:
        InputError: the result holds no attack.
        StoreError: the file cannot be written; an older one is left as it was.
    """
    if not result.attacks:
        raise InputError("the result holds no attack, so there is nothing to report; run the demo with one")
    given: dict[str, Any] = {}
    for part in (words, tables):
        given |= {name: value for name, value in vars(part).items() if not name.startswith("_")}
    given |= {"DASH": DASH, "DETECTORS": DETECTORS, "as_variables": as_variables, "charts": charts}
    given |= {"drawings": drawn, "pictures": pictures, "result": result, "tone": tone}
    given |= {"title": result.title, "titles": _SECTIONS}
    given |= {"lead": words.summary(result), "tiles": words.tiles(result)}
    write_page(rendered("demo.html", "effpath.demo.report", **given), file)
