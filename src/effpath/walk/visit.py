"""The walk from a class back to the pixels: the heart. It knows no operator, only the kinds of rules."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from effpath.backends.compiled import CompiledWalk, Found
from effpath.backends.plain import PlainWalk
from effpath.backends.threads import thread_pool
from effpath.errors import NumericalError, was_interrupted
from effpath.kernels.reference import Chosen
from effpath.paths.batch import Paths
from effpath.paths.rows import CompactNeurons, CompactSynapses, IdRows, Ragged
from effpath.rules.kinds import Selection
from effpath.walk.recording import Recorded

Masks = CompiledWalk | PlainWalk
T = TypeVar("T")


def paths_of(recorded: Recorded, *, rank: int = 1, classes: Tensor | Sequence[int] | None = None) -> Paths:
    """Walk from the rank-th class, or from the given classes [B], back to the pixels."""
    start = recorded.start(recorded.ranked(rank) if classes is None else classes)
    return walk(recorded, start, rank=rank if classes is None else 0)


def walk(recorded: Recorded, active: Tensor, *, rank: int = 0) -> Paths:
    """Return what the walk from some logits to the pixels chooses.

    Args:
        recorded: activations and rules.
        active: bool [B, classes], where to start.
        rank: of the class that this is, 0 for any other start.
    """
    found = by_images(recorded, active, lambda part, start, threads: _walk(part, start, rank, threads))
    return Paths.join(found)


def _walk(recorded: Recorded, active: Tensor, rank: int, threads: int) -> Paths:
    synapses: dict[str, IdRows] = {}
    neurons: dict[str, IdRows] = {}

    def collect(masks: Masks, name: str, kind: Selection) -> None:
        synapses[name], neurons[name] = _sets(masks, name, masks.decide(name, kind), len(recorded))

    masks = visit(recorded, active, collect, threads)
    whole = len(recorded.visited) == len(recorded.plan.kinds)  # else a skip from the input gives a part of them
    names = [layer.name for layer in recorded.header.layers]  # forward order
    return Paths(
        recorded.header,
        active.cpu().numpy().argmax(1),
        rank,
        recorded.logits.float().cpu().numpy(),
        {name: synapses[name] for name in names},
        {name: neurons[name] for name in names},
        _marked(masks, recorded.plan.graph.input) if whole else None,
    )


def by_images(recorded: Recorded, active: Tensor, work: Callable[[Recorded, Tensor, int], T]) -> list[T]:
    """Do ``work(recorded, active, threads)`` over the images, in one part for each of torch's threads.

    Images too few for that are one part, whose operators share the threads. Results come in the order of images.
    """
    threads = torch.get_num_threads() if recorded.compiled else 1
    if threads == 1 or len(recorded) < 2 * threads:
        return [work(recorded, active, threads)]
    edges = np.linspace(0, len(recorded), threads + 1).astype(int).tolist()
    rows = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return list(thread_pool(threads).map(lambda part: work(recorded.select(part), active[part], 1), rows))


def visit(
    recorded: Recorded,
    active: Tensor,
    at_layer: Callable[[Masks, str, Selection], None],
    threads: int,
) -> Masks:
    """Visit the nodes in reverse, each after all its consumers; a tensor's active set is their union.

    ``at_layer`` is called at each layer to keep, and lets the masks decide there.
    """
    plan, options = recorded.plan, recorded.header.options
    kept = {layer.name for layer in recorded.header.layers}
    start = (plan, options, recorded.values, active, recorded.visited)
    masks: Masks = CompiledWalk(*start, threads=threads) if recorded.compiled else PlainWalk(*start)
    for name in reversed(plan.kinds):
        if name not in recorded.visited or not (masks.holds(name) or name in kept):
            continue
        kind = plan.kinds[name]
        if kind.selects:
            try:
                if name in kept:
                    at_layer(masks, name, kind)
                else:
                    masks.decide(name, kind, keep=False)
            except NumericalError as error:
                place = plan.graph.by_name[name].place
                message = f"{error}, at {place}; look for the layer before it that overflows"
                raise NumericalError(message) from error
            except SystemError as error:
                if was_interrupted(error):
                    raise KeyboardInterrupt from None
                raise
        else:
            masks.follow(name, kind.routes(follow_gates=options.gates))
    return masks


def _sets(masks: Masks, name: str, found: Found | Chosen, images: int) -> tuple[IdRows, IdRows]:
    if isinstance(found, Chosen):
        synapses = Ragged.of(found.image.cpu().numpy(), found.slot.cpu().numpy(), images)
        return synapses, _marked(masks, name)
    starts = np.concatenate([[0], np.cumsum(found.of_image)])
    compact = CompactSynapses(
        found.neurons, found.counts, found.candidates, starts, found.inputs, found.channels, found.positions
    )
    return compact, CompactNeurons(compact)


def _marked(masks: Masks, name: str) -> Ragged:
    """Return the active elements of a tensor, in canonical order."""
    return Ragged.of_mask(torch.as_tensor(masks.mask(name)).cpu().numpy())
