"""Names of the outputs of a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_WORDNET_ID = re.compile(r"n\d{8}")


def output_names(model: Any, outputs: int, otherwise: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a name for each output; "" if it has none.

    The model's ``classes`` if there are as many; otherwise ``otherwise``. WordNet ids are replaced by ImageNet's
    words (``n03028079`` is a church) if timm is installed.

    Args:
        model: that has the outputs.
        outputs: their number.
        otherwise: names by output, such as those of a data set.

    Example:
        >>> output_names(object(), 3, ["cat", "dog"])
        ('cat', 'dog', '')
    """
    names = tuple(map(str, getattr(model, "classes", ())))
    if len(names) != outputs:
        names = tuple(map(str, otherwise))[:outputs]
    return _in_words(names + ("",) * (outputs - len(names)))


def _in_words(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names with words for ImageNet's ids; for all 1000 outputs, if each id is at its index."""
    ids = {place: name for place, name in enumerate(names) if _WORDNET_ID.fullmatch(name)}
    if not ids:
        return names
    try:
        from timm.data import ImageNetInfo  # takes seconds, so only where there are ids
    except ImportError:
        return names
    imagenet = ImageNetInfo("imagenet-1k")
    first = [described.partition(",")[0] for described in imagenet.label_descriptions()]
    words = dict(zip(imagenet.label_names(), first, strict=True))
    if len(names) == len(words) and all(imagenet.index_to_label_name(place) == ids[place] for place in ids):
        return tuple(words.values())
    return tuple(words.get(name, name) for name in names)
