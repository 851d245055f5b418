"""Where the elements that a layer reads come from, through everything that only moves elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from effpath.rules.plan import Plan


class Origin(NamedTuple):
    """Where each element of some concatenated tensors comes from.

    Attributes:
        place: int32 [size], which of the tensors asked for; −1 for none of them, padding or a constant.
        element: int64 [size], its id in that tensor; −1 for none.
    """

    place: NDArray[np.int32]
    element: NDArray[np.int64]


def origin_of(plan: Plan, names: Sequence[str], places: Mapping[str, int]) -> Origin:
    """Follow the elements of tensors back to other tensors.

    Args:
        plan: of the network.
        names: of the tensors, whose elements are concatenated; such as the sources of a layer.
        places: a number for each tensor to stop at, by name.
    """
    found = [_origin(plan, name, places) for name in names]
    if len(found) == 1:
        return found[0]
    return Origin(
        np.concatenate([origin.place for origin in found]), np.concatenate([origin.element for origin in found])
    )


def _origin(plan: Plan, name: str, places: Mapping[str, int]) -> Origin:
    size = plan.graph.size(name)
    if name in places:
        return Origin(np.full(size, places[name], np.int32), np.arange(size, dtype=np.int64))
    kind = plan.kinds.get(name)
    if kind is None or kind.selects:
        return Origin(np.full(size, -1, np.int32), np.full(size, -1, np.int64))
    route = kind.data
    found = origin_of(plan, route.sources, places)
    if route.ids is None:
        return found
    ids = route.ids.cpu().numpy().astype(np.int64)
    known = ids >= 0
    return Origin(np.where(known, found.place[ids], -1).astype(np.int32), np.where(known, found.element[ids], -1))
