"""Forward sets: the neurons that carry half of a layer's activation. They need the forward pass and no walk."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.errors import NumericalError
from effpath.graph.graph import Graph
from effpath.kernels import reference


def forward_sets(graph: Graph, outputs: Mapping[str, Tensor]) -> dict[str, NDArray[np.bool_]]:
    """Return the forward set of each image in some layers, bool [B, neurons] by layer.

    It is the fewest neurons whose outputs add up to half of what is positive in the layer's outputs, before the
    nonlinearity; of equal outputs the first ones. An image without a positive output has an empty set.

    Args:
        graph: of the network.
        outputs: by layer, of its neurons or of some of them, [B, neurons], in the order of their ids.

    Raises:
        NumericalError: NaN or infinity in a layer's outputs; names the layer.
    """
    found = {}
    for name, values in outputs.items():
        try:
            found[name] = _carriers(values)
        except NumericalError as error:
            raise NumericalError(f"{error}, at {graph.by_name[name].place}") from error
    return found


def _carriers(outputs: Tensor) -> NDArray[np.bool_]:
    if outputs.dtype != torch.float32 or outputs.device.type != "cpu":
        chosen: NDArray[np.bool_] = reference.carriers(outputs).cpu().numpy()
        return chosen
    from effpath.kernels.carriers import mark_carriers  # importing Numba takes a third of a second

    if not torch.isfinite(outputs).all():
        raise NumericalError("NaN or infinity in a layer's outputs")
    values = np.ascontiguousarray(outputs.numpy())
    marks = np.zeros(values.shape, np.uint8)
    mark_carriers(values, values.view(np.uint32), marks)
    return marks.view(np.bool_)
