"""A forward pass writes into memory that nobody reads any more, and nobody can tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import effpath
from effpath import Graph
from nets import NETS, Net, captured, images_of


class Residual(nn.Module):
    """Sums and ReLUs: of results that are read once, twice, as views, by themselves, and of another shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(6))
        self.narrow, self.head = nn.Conv2d(3, 1, 1), nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d, e, f = self.convs
        once = functional.relu(a(x))
        both = b(once) + c(once)
        twice = d(functional.relu(both))
        kept = functional.relu(twice) + twice
        viewed = e(kept)
        x = functional.relu(viewed).flatten(1) + viewed.flatten(1)
        doubled = f(x.view(-1, 3, 4, 4))
        doubled = doubled + doubled
        return self.head(functional.relu(self.narrow(doubled) + doubled).flatten(1))


def residual() -> Graph:
    return effpath.capture(Residual().eval(), torch.zeros(1, 3, 4, 4))


def plainly(graph: Graph, images: Tensor, keep: list[str]) -> dict[str, Tensor]:
    """Run without writing in place: whoever changes values may keep them."""
    with torch.no_grad():
        return graph.run(images, keep, change=lambda _, value: value)


def test_a_relu_and_a_sum_overwrite_what_they_alone_read() -> None:
    graph = residual()
    places = {graph.by_name[name].op: 0 for name in graph.overwritten}
    for node, operand in graph.overwritten.items():
        places[graph.by_name[node].op] += 1
        assert [each.name for each in graph.consumers[operand]] == [node]
    # of five ReLUs those of a, of both and of the last sum; of sums both and kept, but none of a view or of itself
    assert places["relu"] == 3
    assert places["add"] >= 1
    for node in graph.nodes:
        if len(set(node.refs)) < len(node.refs):
            assert node.name not in graph.overwritten


def test_every_value_that_is_asked_for_is_what_it_would_be_in_memory_of_its_own() -> None:
    graph = residual()
    images = torch.rand(5, 3, 4, 4)
    before = images.clone()
    names = [node.name for node in graph.nodes if node.shape]
    wanted = plainly(graph, images, names)
    assert torch.equal(graph.run(images)[graph.logits], wanted[graph.logits])
    for name in names:
        assert torch.equal(graph.run(images, [name])[name], wanted[name]), name
        some = [name, graph.logits]
        found = graph.run(images, some)
        assert all(torch.equal(found[each], wanted[each]) for each in some), name
    assert torch.equal(images, before)


def test_values_that_are_given_are_left_as_they_are() -> None:
    graph = residual()
    images = torch.rand(2, 3, 4, 4)
    for operand in graph.overwritten.values():
        given = plainly(graph, images, [operand])
        before = given[operand].clone()
        wanted = plainly(graph, images, [graph.logits])[graph.logits]
        assert torch.equal(graph.run(images, given=given)[graph.logits], wanted)
        assert torch.equal(given[operand], before)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_the_logits_are_those_of_a_pass_in_memory_of_its_own(net: Net) -> None:
    graph = captured(net)[1]
    images = graph.check_images(images_of(net.shape))
    before = images.clone()
    for part in torch.split(images, len(images) if graph.batched else 1):
        assert torch.equal(graph.run(part)[graph.logits], plainly(graph, part, [graph.logits])[graph.logits])
    assert torch.equal(images, before)
