"""One recording, walked by both backends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from effpath import Options, Paths
from effpath.graph.graph import Graph
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import paths_of, walk

BACKENDS = ("compiled", "reference")


def with_options(recorded: Recorded, options: Options) -> Recorded:
    """The same activations for other options (of the same gates)."""
    return replace(recorded, header=replace(recorded.header, options=options))


def for_backend(recorded: Recorded, backend: str) -> Recorded:
    """A recording of the compiled backend, for either."""
    assert recorded.compiled
    return recorded.plainly() if backend == "reference" else recorded


def equal_walks(recorded: Recorded, active: torch.Tensor) -> tuple[Paths, int]:
    """Walk by both backends; fail where anything differs. Returns the walk, and its number of synapses."""
    mine, theirs = (walk(for_backend(recorded, backend), active) for backend in BACKENDS)
    assert list(mine.synapses) == list(theirs.synapses)
    assert list(mine.neurons) == list(theirs.neurons)
    rows = [(name, mine.neurons[name], theirs.neurons[name]) for name in mine.neurons]
    rows += [(name, mine.synapses[name], theirs.synapses[name]) for name in mine.synapses]
    assert (mine.pixels is None) == (theirs.pixels is None)
    if mine.pixels is not None:
        rows.append(("pixels", mine.pixels, theirs.pixels))
    for name, one, other in rows:
        assert np.array_equal(one.offsets, other.offsets), (name, recorded.header.options)
        assert np.array_equal(one.values, other.values), (name, recorded.header.options)
    return mine, sum(len(rows.values) for rows in mine.synapses.values())


def equal_paths(recorded: Recorded, **start: object) -> int:
    """Like `equal_walks`, from the logits of a rank or of given classes; weights too."""
    mine, theirs = (paths_of(for_backend(recorded, backend), **start) for backend in BACKENDS)
    for key, rows in mine.weights.items():
        assert np.array_equal(rows.offsets, theirs.weights[key].offsets), key
        assert np.array_equal(rows.values, theirs.weights[key].values), key
    return equal_walks(recorded, recorded.start(mine.classes))[1]


def equal_for(graph: Graph, images: torch.Tensor, options: Options, **wanted: object) -> int:
    """Record, and compare the walks from each of the first three classes, and from random outputs."""
    recorded = record(graph, images, options=options, include_auxiliary="layers" not in wanted, **wanted)
    found = sum(equal_paths(recorded, rank=rank) for rank in range(1, 1 + min(3, recorded.logits.shape[1])))
    active = torch.rand(recorded.logits.shape, generator=torch.Generator().manual_seed(7)) < 0.6
    return found + equal_walks(recorded, active)[1]
