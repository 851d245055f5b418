"""Running a graph from values known already, and with values changed on the way."""

from __future__ import annotations

from dataclasses import replace

import torch

import digits_net
import effpath


def watched(graph: effpath.Graph) -> tuple[effpath.Graph, list[str]]:
    """The same graph, and the names of the nodes that it computes, as it does."""
    called: list[str] = []

    def of(node):
        def function(*args, **keywords):
            called.append(node.name)
            return node.function(*args, **keywords)

        return replace(node, function=function)

    return replace(graph, nodes=tuple(of(node) for node in graph.nodes)), called


def images(count: int = 3) -> torch.Tensor:
    return digits_net.data().test_images[:count]


def test_what_is_given_is_not_computed_again_nor_what_leads_to_it_alone() -> None:
    graph, called = watched(digits_net.graph())
    found = graph.run(images(), ["conv2", "fc3"])
    called.clear()
    again = graph.run(torch.zeros_like(images()), given={"conv2": found["conv2"]})
    assert torch.equal(again["fc3"], found["fc3"])
    behind = ["relu2", "pool2", "flatten", "fc1", "relu3", "fc2", "relu4", "fc3"]
    assert [name for name in called if "sym_size" not in name] == behind


def test_a_changed_value_is_what_its_readers_and_the_caller_see() -> None:
    graph, model = digits_net.graph(), digits_net.model()
    seen = []

    def half(name, value):
        seen.append(name)
        return value / 2 if name in ("conv1", "fc2") else value

    found = graph.run(images(), ["fc2", "fc3"], change=half)
    with torch.no_grad():
        x = model.pool1(model.relu1(model.conv1(images()) / 2))
        x = model.relu3(model.fc1(model.flatten(model.pool2(model.relu2(model.conv2(x))))))
        fc2 = model.fc2(x) / 2
        torch.testing.assert_close(found["fc2"], fc2)
        torch.testing.assert_close(found["fc3"], model.fc3(model.relu4(fc2)))
    assert seen == [node.name for node in graph.nodes]


def test_a_given_value_is_changed_too_and_the_callers_own_is_left_alone() -> None:
    graph = digits_net.graph()
    given = graph.run(images(), ["conv1"])
    before = given["conv1"].clone()
    double = graph.run(images(), change=lambda name, value: value * 2 if name == "conv1" else value)
    found = graph.run(images(), given=given, change=lambda name, value: value * 2 if name == "conv1" else value)
    assert torch.equal(found["fc3"], double["fc3"])
    assert list(given) == ["conv1"]
    assert torch.equal(given["conv1"], before)


def test_gradients_flow_only_where_values_are_changed() -> None:
    graph, factor = digits_net.graph(), torch.ones(1, requires_grad=True)
    assert not graph.run(images().requires_grad_())["fc3"].requires_grad
    changed = graph.run(images(), change=lambda name, value: value * factor if name == "fc3" else value)["fc3"]
    changed.sum().backward()
    torch.testing.assert_close(factor.grad, changed.detach().sum()[None])
    with torch.no_grad():
        off = graph.run(images(), change=lambda name, value: value * factor if name == "fc3" else value)["fc3"]
    assert not off.requires_grad
