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


def equal_sets(compiled: Paths, plain: Paths) -> int:
    """Fail where any set differs; the number of synapses."""
    assert list(compiled.synapses) == list(plain.synapses)
    assert list(compiled.neurons) == list(plain.neurons)
    rows = [(name, compiled.neurons[name], plain.neurons[name]) for name in compiled.neurons]
    rows += [(name, compiled.synapses[name], plain.synapses[name]) for name in compiled.synapses]
    assert (compiled.pixels is None) == (plain.pixels is None)
    if compiled.pixels is not None:
        rows.append(("pixels", compiled.pixels, plain.pixels))
    for name, one, other in rows:
        assert np.array_equal(one.offsets, other.offsets), (name, compiled.header.options)
        assert np.array_equal(one.values, other.values), (name, compiled.header.options)
    return sum(len(rows.values) for rows in compiled.synapses.values())


def equal_walks(recorded: Recorded, active: torch.Tensor) -> tuple[Paths, int]:
    """Walk by both backends; fail where anything differs. Returns the walk, and its number of synapses."""
    compiled, plain = (walk(for_backend(recorded, backend), active) for backend in BACKENDS)
    return compiled, equal_sets(compiled, plain)


def equal_paths(recorded: Recorded, **start: object) -> int:
    """Like `equal_walks`, from the logits of a rank or of given classes; weights too."""
    compiled, plain = (paths_of(for_backend(recorded, backend), **start) for backend in BACKENDS)
    for key, rows in compiled.weights.items():
        assert np.array_equal(rows.offsets, plain.weights[key].offsets), key
        assert np.array_equal(rows.values, plain.weights[key].values), key
    return equal_sets(compiled, plain)


def equal_for(graph: Graph, images: torch.Tensor, *variants: Options, **parts: object) -> list[int]:
    """Record once, and per option compare the walks from the first three classes and from random outputs.

    Options that follow gates are recorded apart from those that do not. Returns the synapses found per option.
    """
    found = []
    for gates in sorted({options.gates for options in variants}):
        alike = [options for options in variants if options.gates == gates]
        recorded = record(graph, images, options=alike[0], include_auxiliary="layers" not in parts, **parts)
        active = torch.rand(recorded.logits.shape, generator=torch.Generator().manual_seed(7)) < 0.6
        for one in (with_options(recorded, options) for options in alike):
            ranks = range(1, 1 + min(3, recorded.logits.shape[1]))
            found.append(sum(equal_paths(one, rank=rank) for rank in ranks) + equal_walks(one, active)[1])
    return found
