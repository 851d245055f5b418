"""Forward sets of a network: by either backend, on canonical ids, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import effpath
from digits_net import data, graph, noisy
from effpath.errors import NumericalError
from effpath.kernels.options import make_options
from effpath.kernels.reference import carriers
from effpath.walk.forward import forward_sets
from effpath.walk.recording import Recorded, record

OPTIONS = make_options("default")
LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")


def images() -> torch.Tensor:
    return torch.cat([data().test_images[:6], noisy(data().test_images[6:12])])


def outputs_of(recorded: Recorded) -> dict[str, torch.Tensor]:
    return {name: recorded.outputs(name) for name in LAYERS}


def test_the_compiled_loop_chooses_the_sets_that_the_reference_chooses_in_double() -> None:
    recorded = record(graph(), images(), options=OPTIONS)
    assert recorded.compiled
    one = forward_sets(graph(), outputs_of(recorded))
    other = forward_sets(graph(), {name: values.double() for name, values in outputs_of(recorded).items()})
    assert list(one) == list(LAYERS)
    for name in LAYERS:
        assert one[name].dtype == np.bool_
        assert np.array_equal(one[name], other[name]), name
        assert 0 < one[name].sum() < one[name].size


def test_ids_are_those_of_a_paths_neurons() -> None:
    recorded = record(graph(), images(), options=OPTIONS)
    values = graph().run(graph().check_images(images()), ["conv1", "fc2"])
    for name, value in values.items():
        wanted = carriers(value.reshape(len(value), -1))
        assert np.array_equal(forward_sets(graph(), {name: recorded.outputs(name)})[name], wanted.numpy())
        sizes = {layer.name: layer.universe("neurons") for layer in recorded.header.layers}
        assert wanted.shape[1] == sizes[name]


def test_the_set_of_an_image_is_the_same_in_every_part_of_a_recording() -> None:
    recorded = record(graph(), images(), options=OPTIONS)
    whole = forward_sets(graph(), outputs_of(recorded))
    for rows in (slice(0, 1), slice(3, 9)):
        part = forward_sets(graph(), outputs_of(recorded.select(rows)))
        assert all(np.array_equal(part[name], whole[name][rows]) for name in LAYERS)


def test_a_network_in_double_has_forward_sets_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    captured = effpath.capture(net, torch.zeros(1, 1, 2, 2, dtype=torch.float64))
    recorded = record(captured, torch.rand(5, 1, 2, 2, dtype=torch.float64), options=OPTIONS)
    assert not recorded.compiled
    found = forward_sets(captured, {layer.name: recorded.outputs(layer.name) for layer in recorded.header.layers})
    assert [marks.shape for marks in found.values()] == [(5, 6), (5, 3)]


def test_a_layer_that_overflows_is_named() -> None:
    recorded = record(graph(), images(), options=OPTIONS)
    recorded.values["fc1"][0, 0] = torch.inf
    with pytest.raises(NumericalError, match="'fc1'"):
        forward_sets(graph(), outputs_of(recorded))


def test_some_elements_of_what_was_recorded_are_those_of_the_whole() -> None:
    recorded = record(graph(), images(), options=OPTIONS)
    for each in (recorded, recorded.plainly()):
        for name in LAYERS:
            ids = torch.arange(0, graph().size(name), 3)
            assert torch.equal(each.outputs(name, ids), recorded.outputs(name)[:, ids])
