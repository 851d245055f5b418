"""The colours of figures and tables: each a variable of the style sheet, which knows light and dark."""

from __future__ import annotations

import re

from effpath.demo.result import DemoResult

# A figure is drawn in these, and no colour scale has them; `as_variables` makes variables of them. Of the groups'
# colours, by Okabe and Ito, colour-blind readers can tell all apart; line styles and markers repeat them.
INK, MUTED, LINE, EDGE, CARD, CLEAN = (f"#fe01{place:02x}" for place in range(6))
GROUPS = tuple(f"#fe02{place:02x}" for place in range(6))
_NAMES = {INK: "ink", MUTED: "muted", LINE: "line", EDGE: "edge", CARD: "card", CLEAN: "clean"}
_NAMES |= {tone: f"group-{place}" for place, tone in enumerate(GROUPS)}


def tone(result: DemoResult, group: str) -> str:
    """Return the colour of a group to draw with: the same in every figure."""
    return CLEAN if group == "clean" else GROUPS[place(result, group) % len(GROUPS)]


def place(result: DemoResult, group: str) -> int:
    """Return the place of an attack among the attacks."""
    return next(place for place, attack in enumerate(result.attacks) if attack.name == group)


def as_variables(text: str) -> str:
    """Return the text with variables of the style sheet for the colours.

    >>> as_variables("fill: #fe0100")
    'fill: var(--ink)'
    """
    return re.sub("#fe0[12][0-9a-f]{2}", lambda found: f"var(--{_NAMES[found[0]]})", text)
