"""Numbers and lists in plain words, for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from effpath.files.plain import percent as plain_percent

DASH = "–"
SENTENCE_NAMES = {"standard": "the standard detector", "surprise": "joint surprise", "linear": "joint similarity"}
"""Detectors with another name in sentences: the default, the best that reads paths, and the paper's."""
DETECTORS = {
    "fast": "the signs of one forward pass and the last third of a walk",
    "standard": "the signs of three forward passes: how sure the network is, whether JPEG or another size changes "
    "its mind, whether activity and pixels are like those of clean images; reads no path similarity",
    "paired": "what another network for the same classes says, and the signs of two forward passes: how sure the "
    "network is, whether JPEG changes its mind, whether activity and pixels are like those of clean images; reads "
    "no path similarity",
    "thorough": "the signs of many forward passes and a walk",
    "linear": "joint similarity: a weighted sum of the path similarities, as in the paper",
    "forest": "random forest on the path similarities",
    "adaboost": "AdaBoost on the path similarities",
    "boosting": "gradient boosting on the path similarities",
    "clean": "path similarities; trained on clean images alone",
    "surprise": "joint surprise: rank-1 similarities, fit with other classes, and how sure the network is",
    "max softmax": "a low highest probability is suspicious; needs no paths, no training",
    "energy": "small logits are suspicious; needs no paths, no training",
}
"""What each detector looks at, for readers who know none of them."""


def number(value: float, digits: int = 3) -> str:
    """Return a number with fixed digits, a dash for NaN.

    >>> number(0.98765), number(float("nan"))
    ('0.988', '–')
    """
    if math.isnan(value):
        return DASH
    return f"{value:.{digits}f}".replace("-", "−").replace("inf", "∞")


def similarity(value: float) -> str:
    """Return a similarity with two digits, with three where it is so small that two would hide what differs.

    >>> similarity(0.234), similarity(0.0234)
    ('0.23', '0.023')
    """
    return number(value, 2 if value >= 0.1 else 3)


def percent(share: float) -> str:
    """Return a share as a percentage that no line breaks, a dash for NaN.

    >>> percent(0.1234)
    '12.3\u202f%'
    """
    return unbroken(plain_percent(share))


def unbroken(text: str) -> str:
    """Return a sentence whose percentages no line breaks."""
    return text.replace(" %", "\u202f%")


def count(value: int) -> str:
    """Return a whole number with its thousands separated."""
    return f"{value:,}".replace(",", "\u202f")


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, a dash for NaN.

    >>> signed(0.256), signed(-1.0)
    ('+0.26', '−1.00')
    """
    return ("+" if value > 0 else "") + number(value + 0.0, digits)


def listing(names: Sequence[str]) -> str:
    """Return names as in a sentence.

    >>> listing(["FGSM", "BIM", "CWL2"])
    'FGSM, BIM and CWL2'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def title_of(label: int, names: Sequence[str]) -> str:
    """Return a class with its name, where it has one of its own.

    >>> title_of(1, ["cat", "dog"]), title_of(1, ["0", "1"]), title_of(1, [])
    ('1 (dog)', '1', '1')
    """
    name = names[label] if label < len(names) else ""
    return str(label) if name in ("", str(label)) else f"{label} ({name})"


def detector_name(name: str) -> str:
    """Return the name of a detector in a sentence."""
    return SENTENCE_NAMES.get(name, name)


def span(values: Sequence[float], write: Any = number) -> str:
    """Return lowest to highest, or one value if both read the same.

    >>> span([0.97, 0.92])
    '0.920 to 0.970'
    """
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"{low} to {high}"


def plain(value: Any) -> str:
    """Return any setting as text: mappings and sequences on one line, None as a dash."""
    if value is None:
        return DASH
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or DASH
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
