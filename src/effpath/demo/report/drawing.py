"""A Matplotlib figure as part of the page: twice, for wide windows and for phones, in the colours of the page.

Matplotlib is imported only when a figure is drawn, and its global state is left alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from effpath.demo.report.tones import EDGE, INK, LINE, as_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from effpath.demo.report.charts import Chart

WIDE, NARROW = 11.0, 10.5  # size of text; a unit of a drawing is about a pixel of the window that it is for
_RC = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": EDGE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "effpath",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def figure(narrow: bool, wide_size: tuple[float, float], narrow_size: tuple[float, float]) -> Figure:
    """Return an empty figure of one of two sizes, each (width, height) in about pixels."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = narrow_size if narrow else wide_size
    return Figure(figsize=(width / 72, height / 72), layout=ConstrainedLayoutEngine(w_pad=6 / 72, h_pad=4 / 72))


class Drawing(NamedTuple):
    """A figure as SVG.

    Attributes:
        kind: ``wide`` or ``narrow``; the style sheet shows one of the two.
        box: its view box.
        body: what is inside of the ``svg`` element, and the end of it.
    """

    kind: str
    box: str
    body: str


def drawn(chart: Chart) -> list[Drawing]:
    """Return a chart's drawing for wide windows, and that for phones."""
    return [_drawing(chart, narrow) for narrow in (False, True)]


@contextmanager
def style(narrow: bool) -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user has set; the user's settings return afterwards."""
    import matplotlib

    size = NARROW if narrow else WIDE
    sizes = {"font.size": size, "axes.labelsize": size, "legend.fontsize": size}
    sizes |= {"xtick.labelsize": size, "ytick.labelsize": size}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC | sizes)
        yield


def _drawing(chart: Chart, narrow: bool) -> Drawing:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with style(narrow):  # `savefig` would draw all twice
        FigureCanvasSVG(chart.draw(narrow)).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<(metadata|style|clipPath)\b.*?</\1>", "", text, flags=re.S)
    text = re.sub(r' clip-path="[^"]*"|<defs>\s*</defs>', "", text)  # nothing drawn reaches past its axes
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    body = text[text.index(">") + 1 :].strip().replace("xlink:href", "href")
    used = set(re.findall(r'href="#([^"]*)"', body))
    kind = "narrow" if narrow else "wide"
    start = f"{chart.key}-{kind}-"
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{start}{found[1]}"' if found[1] in used else "", body
    ).replace('href="#', f'href="#{start}')
    return Drawing(kind, box[1], as_variables(re.sub(r"\s*\n\s*", "\n", body)))
