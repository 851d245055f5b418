"""Hooks of the user's model: watchers never see tensors without values, transformers are part of the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import effpath
from effpath.rules import plan_for


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


EXAMPLE = torch.rand(1, 4, generator=torch.Generator().manual_seed(1))


def hooks_of(model: nn.Module) -> list[list[tuple[int, object]]]:
    return [[*m._forward_hooks.items(), *m._forward_pre_hooks.items()] for m in model.modules()]


def test_a_hook_that_watches_sees_real_tensors_alone_and_is_there_afterwards() -> None:
    model, seen = net(), []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None = None) -> None:
        module.kept = inputs[0] if output is None else output  # on the module, too
        seen.append(module.kept)

    model[1].register_forward_hook(keep)
    model[3].register_forward_pre_hook(keep)
    model.register_forward_hook(lambda module, inputs, kwargs, output: seen.append(output), with_kwargs=True)
    everywhere = nn.modules.module.register_module_forward_hook(lambda module, inputs, output: seen.append(output))
    before = hooks_of(model)
    try:
        graph = effpath.capture(model, EXAMPLE)
        effpath.extract(graph, EXAMPLE)
    finally:
        everywhere.remove()
    assert seen
    assert not any(isinstance(tensor, FakeTensor) for tensor in seen)
    assert all(len(tensor) == 2 for tensor in seen)  # of the one real run
    assert hooks_of(model) == before
    model(EXAMPLE)
    assert len(seen[-1]) == 1
    assert graph.fingerprint == effpath.capture(net(), EXAMPLE).fingerprint


def test_a_hook_that_removes_itself_stays_removed_and_one_after_it_keeps_its_handle() -> None:
    model, calls = net(), []
    once = model[1].register_forward_hook(lambda *_: once.remove())
    handle = model[1].register_forward_hook(lambda *_: calls.append(1))
    effpath.capture(model, EXAMPLE)
    assert len(model[1]._forward_hooks) == len(calls) == 1
    handle.remove()
    assert not model[1]._forward_hooks


def test_hooks_are_back_where_the_model_cannot_be_captured() -> None:
    model = net()
    model[1].register_forward_hook(lambda *_: None)
    before = hooks_of(model)
    with pytest.raises(effpath.errors.InputError):
        effpath.capture(model, torch.zeros(1, 5))
    assert hooks_of(model) == before


def halve_the_output(model: nn.Sequential) -> None:
    model[1].register_forward_hook(lambda module, inputs, output: output / 2)


def negate_the_output_in_place(model: nn.Sequential) -> None:
    model[1].register_forward_hook(lambda module, inputs, output: (output.neg_(), None)[1])


def double_the_input(model: nn.Sequential) -> None:
    model[1].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))


def set_the_weight(model: nn.Sequential) -> None:
    layer = model[1]
    layer.scaled = nn.Parameter(layer.weight.detach().clone())
    del layer.weight
    layer.register_forward_pre_hook(lambda module, inputs: setattr(module, "weight", module.scaled * 3))


TRANSFORMERS = [
    halve_the_output,
    negate_the_output_in_place,
    double_the_input,
    set_the_weight,
    pytest.param(lambda model: weight_norm(model[1]), marks=pytest.mark.filterwarnings("ignore")),
    pytest.param(lambda model: spectral_norm(model[1]).eval(), marks=pytest.mark.filterwarnings("ignore")),
    lambda model: prune.l1_unstructured(model[1], "weight", 0.5),
    lambda model: parametrizations.weight_norm(model[1]),
    lambda model: parametrizations.spectral_norm(model[1]).eval(),
]
NAMES = [
    "output",
    "in place",
    "input",
    "weight",
    "weight norm",
    "spectral norm",
    "pruning",
    "new weight norm",
    "new spectral norm",
]


@pytest.mark.parametrize("transform", TRANSFORMERS, ids=NAMES)
def test_a_hook_that_has_a_part_in_the_outputs_is_part_of_the_network(transform) -> None:
    model = net()
    transform(model)
    before = hooks_of(model)
    graph = effpath.capture(model.eval(), EXAMPLE)
    images = torch.rand(3, 4)
    torch.testing.assert_close(graph(images), model(images).detach())
    assert hooks_of(model) == before
    assert len(plan_for(graph).layers) == 2
