"""A Matplotlib figure as part of the page: twice, for wide windows and for phones, in the page's own colours.

Matplotlib is imported only when a figure is drawn, and its global state is left alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

from effpath.demo.report.tones import EDGE, INK, LINE, as_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def drawn(draw: Callable[[bool], Figure], key: str, alt: str) -> str:
    """Return a figure as SVG inside the page, wide and narrow; the style sheet shows one of the two.

    Args:
        draw: gives the figure; its argument says whether it is for a phone.
        key: begins every id in it; no other figure's.
        alt: what it shows, for who cannot see it.
    """
    return "".join(_inline(draw, narrow, key, alt) for narrow in (False, True))


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


def _inline(draw: Callable[[bool], Figure], narrow: bool, key: str, alt: str) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with style(narrow):  # `savefig` would draw all twice
        FigureCanvasSVG(draw(narrow)).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<(metadata|style|clipPath)\b.*?</\1>", "", text, flags=re.S)
    text = re.sub(r' clip-path="[^"]*"|<defs>\s*</defs>', "", text)  # nothing drawn reaches past its axes
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    body = text[text.index(">") + 1 :].strip().replace("xlink:href", "href")
    used = set(re.findall(r'href="#([^"]*)"', body))
    kind = "narrow" if narrow else "wide"
    start = f"{key}-{kind}-"
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{start}{found[1]}"' if found[1] in used else "", body
    ).replace('href="#', f'href="#{start}')
    body = re.sub(r"\s*\n\s*", "\n", body)
    return (
        f'<svg class="chart {kind}" viewBox="{box[1]}" role="img" aria-label="{escape(alt)}">{as_variables(body)}'
    )
