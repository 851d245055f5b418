"""A graph is a value: it can be copied and sent, shows itself in a line, and keeps nothing of another one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import effpath
from effpath.rules import plan_for
from nets import NETS, captured, images_of

COPIES: dict[str, Callable[[effpath.Graph], effpath.Graph]] = {
    "pickle": lambda graph: pickle.loads(pickle.dumps(graph)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("net", NETS[::3], ids=lambda net: net.name)
def test_a_copy_of_a_graph_has_the_same_paths(how: str, net) -> None:
    images, (_, graph) = images_of(net.shape), captured(net)
    expected = effpath.extract(graph, images)
    other = COPIES[how](graph)
    assert other.fingerprint == graph.fingerprint
    assert other.plans is not graph.plans
    got = effpath.extract(other, images)
    assert [path.synapses for path in got] == [path.synapses for path in expected]
    assert [path.neurons for path in got] == [path.neurons for path in expected]


def test_operators_that_were_rewritten_are_sent_too() -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            largest = F.adaptive_max_pool2d(x, 2, return_indices=True)[0]
            return self.fc((largest - x.amin((2, 3), keepdim=True)).flatten(1))

    images = torch.rand(2, 1, 4, 4)
    graph = effpath.capture(Several().eval(), images)
    other = pickle.loads(pickle.dumps(graph))
    assert [p.synapses for p in effpath.extract(other, images)] == [
        p.synapses for p in effpath.extract(graph, images)
    ]


def test_a_graph_shows_itself_in_a_line_without_weights() -> None:
    graph = effpath.capture(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), torch.zeros(1, 1, 2, 2))
    shown = repr(graph)
    assert shown.startswith("Graph(")
    assert all(part in shown for part in ("(1, 2, 2)", "3 classes"))
    assert graph.fingerprint[:12] in shown
    for text in (shown, repr(plan_for(graph))):
        assert not any(part in text for part in ("\n", "tensor"))
        assert len(text) < 200


def test_a_graph_with_something_replaced_follows_its_own_plan() -> None:
    graph = effpath.capture(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)).eval(), torch.zeros(1, 2))
    effpath.extract(graph, torch.ones(1, 2))  # makes the plan
    doubled = {name: value * torch.tensor([[1.0], [-1]]) if value.dim() == 2 else value for name, value in
               graph.constants.items()}  # fmt: skip
    other = replace(graph, constants=doubled)
    assert not other.plans
    assert plan_for(other).graph is other
    assert plan_for(graph).graph is graph
    fresh = pickle.loads(pickle.dumps(other))
    for backend in ("compiled", "reference"):
        got, expected = (effpath.extract(each, torch.ones(1, 2), backend=backend) for each in (other, fresh))
        assert got[0].synapses == expected[0].synapses
        assert got.logits.tolist() == expected.logits.tolist()


def test_a_plan_with_something_replaced_prepares_itself_anew() -> None:
    graph = effpath.capture(nn.Linear(2, 2).eval(), torch.zeros(1, 2))
    effpath.extract(graph, torch.ones(1, 2), backend="compiled")
    plan = plan_for(graph)
    assert plan.prepared
    assert not replace(plan, every=plan.every).prepared
