"""What a captured graph looks like, and that it is the user's model and nothing of it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import effpath
from cases import Call
from effpath.rules import plan_for
from nets import NETS, Residual, Shared, Twice, captured, prepare


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 2, 1), nn.ReLU()

    def forward(self, x):
        return self.act(self.conv(x)) + x


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Block(), Block())
        self.kernel = nn.Parameter(torch.ones(3, 2, 1, 1))
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(3, 2)

    def forward(self, x):
        x = F.conv2d(self.layers(x), self.kernel)
        return self.fc(self.pool(x).flatten(1))


def test_nodes_are_named_after_their_modules_and_layers_after_the_owner_of_their_weight() -> None:
    graph = effpath.capture(Named().eval(), torch.zeros(1, 2, 2, 2))
    names = [node.name for node in graph.nodes if node.op != "sym_size"]
    assert names == [
        "layers.0.conv",
        "layers.0.act",
        "layers.0",  # its one own operator, the sum
        "layers.1.conv",
        "layers.1.act",
        "layers.1",
        "kernel.conv2d",
        "pool",
        "view",
        "fc",
    ]
    assert [layer.name for layer in plan_for(graph).layers] == [
        "layers.0.conv",
        "layers.1.conv",
        "kernel.conv2d",
        "fc",
    ]
    assert [layer.parameter for layer in plan_for(graph).layers][2:] == ["kernel", "fc.weight"]


def test_a_layer_that_is_the_whole_model_is_named_after_its_operator() -> None:
    (layer,) = plan_for(effpath.capture(nn.Linear(4, 2).eval(), torch.zeros(1, 4))).layers
    assert (layer.name, layer.parameter) == ("linear", "weight")


def test_a_module_used_again_gets_a_number() -> None:
    graph = effpath.capture(prepare(Shared()), torch.zeros(1, 2, 3, 3))
    assert [la.name for la in plan_for(graph).layers] == ["conv", "conv#2", "fc", "fc#2", "head"]
    assert [la.parameter for la in plan_for(graph).layers[:2]] == ["conv.weight", "conv.weight"]


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_every_name_is_used_once_and_no_operator_is_in_place(net) -> None:
    _, graph = captured(net)
    names = [node.name for node in graph.nodes] + list(graph.constants) + [graph.input]
    assert len(names) == len(set(names))
    assert not [node.op for node in graph.nodes if node.op.endswith("_")]
    assert {"dropout", "clone", "detach"}.isdisjoint(node.op for node in graph.nodes)


@pytest.mark.parametrize("last", [F.softmax, F.log_softmax])
def test_the_walk_starts_before_a_last_softmax(last) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), Call(last, dim=1)).eval()
    bare = model[:2]
    graph = effpath.capture(model, torch.zeros(1, 1, 2, 2))
    assert graph.logits == "1"
    assert graph.classes == 3
    images = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    paths = effpath.extract(graph, images)
    torch.testing.assert_close(torch.from_numpy(paths.logits), bare(images).detach())
    plain = effpath.extract(effpath.capture(bare, torch.zeros(1, 1, 2, 2)), images)
    for path, other in zip(paths, plain, strict=True):
        assert dict(path.synapses) == dict(other.synapses)


def test_two_captures_of_one_model_have_one_fingerprint_whatever_the_example() -> None:
    model = prepare(Residual(), 3)
    one = effpath.capture(model, torch.zeros(1, 2, 4, 4)).fingerprint
    assert effpath.capture(model, torch.randn(5, 2, 4, 4)).fingerprint == one
    assert effpath.capture(copy.deepcopy(model), torch.zeros(1, 2, 4, 4)).fingerprint == one
    assert len(one) == 64


def test_the_fingerprint_changes_with_any_number_of_the_model() -> None:
    model = prepare(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)))
    example = torch.zeros(1, 1, 1, 1)
    prints = {effpath.capture(model, example).fingerprint}
    names = [name for name in model.state_dict() if name != "1.num_batches_tracked"]
    for name in names:
        with torch.no_grad():
            model.state_dict()[name].view(-1)[-1] += 1e-3
        prints.add(effpath.capture(model, example).fingerprint)
    assert len(prints) == 1 + len(names) == 9


def test_the_fingerprint_changes_with_the_structure_and_the_image_size() -> None:
    def fingerprint(model: nn.Module, side: int = 4) -> str:
        return effpath.capture(prepare(model, 1), torch.zeros(1, 2, side, side)).fingerprint

    class OtherStride(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.conv2.stride = self.shortcut[0].stride = (1, 1)

    prints = {fingerprint(Residual()), fingerprint(OtherStride()), fingerprint(Residual(), 6)}
    assert len(prints) == 3


def test_the_users_model_is_untouched_by_capture_and_extraction() -> None:
    model = prepare(Residual(), 3)
    model.relu.train()  # a flag that does not matter must survive too
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = {name: module.training for name, module in model.named_modules()}
    grads = {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    keys = {name: sorted(vars(module)) for name, module in model.named_modules()}
    chance = torch.get_rng_state()
    effpath.extract(
        effpath.capture(model, torch.zeros(1, 2, 4, 4)), torch.rand(2, 2, 4, 4, generator=torch.Generator())
    )
    assert torch.equal(torch.get_rng_state(), chance)
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert flags == {name: module.training for name, module in model.named_modules()}
    assert grads == {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    assert keys == {name: sorted(vars(module)) for name, module in model.named_modules()}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_later_changes_of_the_model_do_not_reach_the_graph() -> None:
    model = prepare(Residual(), 3)
    graph = effpath.capture(model, torch.zeros(1, 2, 4, 4))
    images = torch.ones(1, 2, 4, 4)
    before = graph(images).clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(graph(images), before)


def same_paths(one: effpath.Paths, other: effpath.Paths) -> bool:
    return all(
        dict(a.synapses) == dict(b.synapses) and dict(a.weights) == dict(b.weights)
        for a, b in zip(one, other, strict=True)
    )


class TokensFirst(nn.Module):
    """Works on [tokens, batch, channels], as transformers of old do."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first, self.mix, self.head = first, nn.Linear(2, 3), nn.Linear(3, 4)

    def forward(self, x):
        x = x.flatten(2).permute(2, 0, 1) if self.first else x.flatten(2).permute(0, 2, 1)
        return self.head(F.relu(self.mix(x)).mean(0 if self.first else 1))


def test_a_batch_that_is_not_outermost_gives_the_paths_of_the_model_where_it_is() -> None:
    inside, outside = (prepare(TokensFirst(first=first), 4) for first in (True, False))
    example, images = torch.zeros(1, 2, 2, 2), torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    graphs = [effpath.capture(model, example) for model in (inside, outside)]
    assert [graph.batched for graph in graphs] == [False, True]
    one, other = (effpath.extract(graph, images, preset="authors") for graph in graphs)
    torch.testing.assert_close(torch.from_numpy(one.logits), torch.from_numpy(other.logits))
    assert same_paths(one, other)


def test_a_model_that_mixes_the_images_of_a_batch_is_run_image_by_image() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x / x.abs().max())

    model = prepare(Normalised())
    graph = effpath.capture(model, torch.ones(1, 4))
    images = torch.tensor([[1.0, 2.0, -4.0, 0.5], [0.25, 0.0, 0.5, -0.5]])
    assert not graph.batched
    alone = torch.cat([model(image[None]) for image in images]).detach()
    assert torch.equal(torch.from_numpy(effpath.extract(graph, images).logits), alone)


def test_a_model_that_exports_only_for_a_fixed_batch_is_run_image_by_image() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return torch.stack([self.two(F.relu(self.one(x[i]))) for i in range(x.shape[0])])

    loop = prepare(Loop(), 2)
    plain = nn.Sequential(loop.one, nn.ReLU(), loop.two).eval()
    images = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    graph = effpath.capture(loop, torch.zeros(1, 4))
    assert not graph.batched
    one = effpath.extract(graph, images)
    other = effpath.extract(effpath.capture(plain, torch.zeros(1, 4)), images)
    torch.testing.assert_close(torch.from_numpy(one.logits), torch.from_numpy(other.logits))
    for layer, twin in (("one", "0"), ("two", "2")):
        for i in range(3):
            assert one[i].synapses[layer] == other[i].synapses[twin]
            assert one[i].neurons[layer] == other[i].neurons[twin]
    assert [ids.tolist() for ids in map(one.pixels.__getitem__, range(3))] == [
        ids.tolist() for ids in map(other.pixels.__getitem__, range(3))
    ]


def test_a_model_in_double_precision_is_run_in_it() -> None:
    model = prepare(Twice(), 1).double()
    graph = effpath.capture(model, torch.zeros(1, 1, 4, 4, dtype=torch.float64))
    images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert graph.run(graph.check_images(images))[graph.logits].dtype == torch.float64
    single = effpath.capture(prepare(Twice(), 1), torch.zeros(1, 1, 4, 4))
    assert same_paths(effpath.extract(graph, images), effpath.extract(single, images))
