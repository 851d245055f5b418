"""Weights switched off in a graph or in a state dict, and those that pruning by magnitude would keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from effpath.errors import OptionError
from effpath.files.cache import fingerprint
from effpath.graph.graph import Graph
from effpath.kernels.reference import widened
from effpath.paths.idset import IdSet
from effpath.paths.path import Sets
from effpath.rules.plan import plan_for


def with_weights_off(graph: Graph, sets: Sets, *, keep: bool = False) -> Graph:
    """Return the network with 0 for some weights or, with ``keep``, for all others of these parameters.

    Batch norm is folded in the graph: what it adds to a bias stays.

    Raises:
        OptionError: no such parameter, or a set of another size.
    """
    off, constants = _off(graph, sets, keep=keep), dict(graph.constants)
    for layer in plan_for(graph).layers:
        if layer.parameter in off and layer.weight is not None:
            held, scalars = constants[layer.weight], layer.window.scalars
            mask = off[layer.parameter] if scalars is None else off[layer.parameter][scalars.ids.reshape(-1)]
            constants[layer.weight] = held.masked_fill(mask.reshape(held.shape).to(held.device), 0)
    made_of = fingerprint("weights off", graph.fingerprint, off)
    return replace(graph, constants=constants, fingerprint=made_of, structure=None)


def state_with_weights(state: Mapping[str, Tensor], graph: Graph, sets: Sets) -> dict[str, Tensor]:
    """Return a copy of a model's state dict that keeps only some of the weights; the others are 0.

    Args:
        state: of the model that the graph was captured from.
        graph: of the network.
        sets: weights to keep, by parameter; parameters without a set, biases and buffers stay as they are.

    Raises:
        OptionError: no such parameter or a set of another size, or a layer's weight is no parameter of the state
            dict (it is computed from several, as with weight norm).
    """
    off = _off(graph, sets, keep=True)
    for name in off:
        if name not in state or ".parametrizations." in name:
            raise OptionError(
                f"expected weights that are parameters of the model, got {name!r}, which is computed from others; "
                "remove the parametrization first (torch.nn.utils.parametrize.remove_parametrizations)"
            )
    masks = {(state[name].data_ptr(), state[name].shape): mask for name, mask in off.items()}  # tied ones too
    found = {}
    for name, value in state.items():
        mask = masks.get((value.data_ptr(), value.shape))
        zeroed = value if mask is None else value.masked_fill(mask.reshape(value.shape).to(value.device), 0)
        found[name] = zeroed.detach().clone(memory_format=torch.contiguous_format)
    return found


def largest_weights(weights: Mapping[str, Tensor], count: int) -> dict[str, IdSet]:
    """Return the ``count`` weights of largest magnitude of all parameters together; of equal ones the first.

    Args:
        weights: by parameter.
        count: of weights, at most as many as there are.
    """
    flat = [widened(value.detach()).abs().cpu().reshape(-1).numpy() for value in weights.values()]
    magnitude = np.concatenate(flat)
    if not 0 <= count <= len(magnitude):
        raise OptionError(f"expected a count of 0 … {len(magnitude)} weights, got {count}")
    kept = np.zeros(len(magnitude), dtype=bool)
    if count:
        least = np.partition(magnitude, -count)[-count]
        kept = magnitude > least
        kept[np.flatnonzero(magnitude == least)[: count - np.count_nonzero(kept)]] = True
    parts = np.split(kept, np.cumsum([len(part) for part in flat])[:-1])
    return {name: IdSet.from_mask(part) for name, part in zip(weights, parts, strict=True)}


def pruned_to(weights: Mapping[str, Tensor], sets: Sets, *, by_layer: bool = False) -> dict[str, IdSet]:
    """Return as many weights as some sets have, those of largest magnitude: what pruning keeps.

    Args:
        weights: by parameter, the sets' own among them.
        sets: of weights, by parameter.
        by_layer: as many of each parameter, instead of all parameters together.
    """
    if by_layer:
        return {name: largest_weights({name: weights[name]}, len(own))[name] for name, own in sets.items()}
    return largest_weights({name: weights[name] for name in sets}, sum(map(len, sets.values())))


def _off(graph: Graph, sets: Sets, *, keep: bool) -> dict[str, Tensor]:
    """Return the weights that are off, bool [weights] by parameter; scalars of a parameter outside layers stay."""
    layers = plan_for(graph).layers
    found = {}
    for name, members in sets.items():
        own = [layer for layer in layers if layer.parameter == name]
        if not own:
            known = ", ".join(dict.fromkeys(layer.parameter or "" for layer in layers))
            raise OptionError(f"expected the weight of a layer, got {name!r}; there are {known}")
        size = own[0].universe("weights")
        if members.size != size:
            raise OptionError(
                f"expected a set of the {size} weights of {name!r}, got one of {members.size}; give the sets of a "
                "path of this network"
            )
        used = torch.zeros(size, dtype=torch.bool)
        for layer in own:
            used[slice(None) if layer.window.scalars is None else layer.window.scalars.ids.reshape(-1)] = True
        mask = torch.from_numpy(members.mask())
        found[name] = used & (~mask if keep else mask)
    return found
