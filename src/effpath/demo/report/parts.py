"""Paragraphs and figures as HTML."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from effpath.demo.report.drawing import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(
    draw: Callable[[bool], Figure], key: str, *, title: str, size: str, alt: str, see: str, kind: str = "card"
) -> str:
    """Return a drawing under its title, how many images are in it, and what there is to see.

    Args:
        draw: gives the drawing; its argument says whether it is for a phone.
        key: of this figure alone, for ids.
        title: what is drawn.
        size: n.
        alt: what it shows, for who cannot see it.
        see: a sentence or two that say what to see.
        kind: classes of the style sheet.
    """
    return (
        f'<figure class="{kind}"><figcaption><strong>{escape(title)}</strong> '
        f'<span class="n">{escape(size)}</span>'
        f"{escape(see, quote=False)}</figcaption>\n{drawn(draw, key, alt)}</figure>"
    )


def paragraph(*sentences: str, kind: str = "") -> str:
    """Return sentences, those that are not empty, as a paragraph."""
    start = f'<p class="{kind}">' if kind else "<p>"
    return f"{start}{text(*sentences)}</p>"


def text(*sentences: str) -> str:
    """Return sentences, those that are not empty, as text of the page."""
    return escape(" ".join(sentence for sentence in sentences if sentence), quote=False)
