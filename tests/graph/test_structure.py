"""A captured network is captured again from its structure: the same graph, or torch.export has the last word."""

import json
from functools import cache

import pytest
import torch
from torch import nn

import effpath
from effpath.graph import structure as structures
from nets import NETS, captured, images_of


class Forward(nn.Module):
    """The same parameters with one of two forward passes."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.fc, self.function = nn.Conv2d(1, 2, 3), nn.Linear(8, 3), function

    def forward(self, x):
        return self.fc(self.function(self.conv(x)).flatten(1) + torch.tensor([1.0] * 8))


def made(function=torch.relu):
    torch.manual_seed(0)
    return Forward(function).eval()


def exported(monkeypatch):
    """Return a list that gets an entry whenever torch.export is called."""
    calls = []
    original = torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *a, **k: calls.append(1) or original(*a, **k))
    return calls


IMAGE = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@cache
def graph_of_made():
    return effpath.capture(made(), IMAGE)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_a_network_is_the_same_from_its_structure_and_without_torch_export(net, exported_anew, monkeypatch):
    image, model = images_of(net.shape, 1), captured(net)[0]
    graph = effpath.capture(model, torch.zeros(1, *net.shape))
    assert graph.structure is not None
    calls = exported(monkeypatch)
    again = effpath.capture(model, image, structure=graph.structure)
    assert calls == []
    assert again.fingerprint == graph.fingerprint
    assert again.structure == graph.structure
    assert [(n.name, n.op, n.shape) for n in again.nodes] == [(n.name, n.op, n.shape) for n in graph.nodes]
    assert (again.batched, again.parameters) == (graph.batched, graph.parameters)
    assert effpath.extract(again, image)[0] == effpath.extract(graph, image)[0]


def test_other_weights_of_the_same_network_take_its_structure(monkeypatch):
    graph, other = graph_of_made(), made()
    torch.nn.init.normal_(other.fc.weight)
    expected = effpath.capture(other, IMAGE)
    calls = exported(monkeypatch)
    assert effpath.capture(other, IMAGE, structure=graph.structure).fingerprint == expected.fingerprint
    assert calls == []
    assert expected.fingerprint != graph.fingerprint


def test_another_forward_pass_with_the_same_parameters_is_noticed(monkeypatch):
    text = graph_of_made().structure
    other = made(torch.tanh)
    expected = effpath.capture(other, IMAGE)
    calls = exported(monkeypatch)
    assert effpath.capture(other, IMAGE, structure=text).fingerprint == expected.fingerprint
    assert calls


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"format": "effpath-structure-0"}',
        pytest.param(lambda about: about["constants"].append("conv.other"), id="another network's parameter"),
        pytest.param(lambda about: about["nodes"][0].__setitem__(1, "no_such.default"), id="no operator"),
        pytest.param(lambda about: about["nodes"].pop(0), id="a node is missing"),
        pytest.param(lambda about: about.update(input_shape=[1, 5, 5]), id="other images"),
        pytest.param(lambda about: about.update(dtype="float64"), id="other numbers"),
        pytest.param(lambda about: about.update(dtype="load"), id="no dtype"),
        pytest.param(lambda about: about["literals"].clear(), id="literals are missing"),
    ],
)
def test_a_structure_that_does_not_fit_is_left_alone(text):
    model, graph = made(), graph_of_made()
    if not isinstance(text, str):
        about = json.loads(graph.structure)
        text(about)
        text = json.dumps(about)
    assert effpath.capture(model, IMAGE, structure=text).fingerprint == graph.fingerprint


def test_a_structure_holds_no_weights_and_names_operators_of_aten_alone():
    about = json.loads(graph_of_made().structure)
    assert sorted(about["constants"]) == ["conv.bias", "conv.weight", "fc.bias", "fc.weight"]
    assert [value[1] for value in about["literals"].values()] == [[8]]
    for function in ("system.default", "__class__.__init__", "__class__.__call__"):
        with pytest.raises((AttributeError, TypeError)):
            structures._read_node(["n", function, {}, [], ""])


def test_a_network_with_large_literal_tensors_has_none(monkeypatch):
    monkeypatch.setattr(structures, "MOST_LITERALS", 31)
    assert effpath.capture(made(), IMAGE).structure is None
