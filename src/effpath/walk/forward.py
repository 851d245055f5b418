"""Forward sets: the neurons that carry half of a layer's activation. They need the forward pass and no walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.backends.prepared import prepare
from effpath.errors import NumericalError
from effpath.kernels import reference
from effpath.walk.recording import Recorded


def forward_sets(recorded: Recorded, layers: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return the forward set of each image in some layers that were recorded, bool [B, neurons] by layer.

    It is the fewest neurons whose outputs add up to half of what is positive in the layer's outputs, before the
    nonlinearity; of equal outputs those of lower ids come first. Ids are those of a path's neurons. An image
    without a positive output has an empty set.

    Raises:
        NumericalError: NaN or infinity in a layer's outputs; names the layer.
    """
    found = {}
    for name in layers:
        try:
            found[name] = _carriers(outputs_of(recorded, name), compiled=recorded.compiled)
        except NumericalError as error:
            raise NumericalError(f"{error}, at {recorded.plan.graph.by_name[name].place}") from error
    return found


def outputs_of(recorded: Recorded, name: str) -> Tensor:
    """Return what was recorded of a tensor in canonical order, [B, size]."""
    stored = recorded.values[name]
    return prepare(recorded.plan).layouts[name].restore(stored) if recorded.compiled else stored


def _carriers(outputs: Tensor, *, compiled: bool) -> NDArray[np.bool_]:
    if not compiled:
        chosen: NDArray[np.bool_] = reference.carriers(outputs).cpu().numpy()
        return chosen
    from effpath.kernels.carriers import mark_carriers  # importing Numba takes a third of a second

    if not torch.isfinite(outputs).all():
        raise NumericalError("NaN or infinity in a layer's outputs")
    values = np.ascontiguousarray(outputs.numpy())
    marks = np.zeros(values.shape, np.uint8)
    mark_carriers(values, values.view(np.uint32), marks)
    return marks.view(np.bool_)
