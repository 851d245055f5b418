"""What `check` says of a network: sizes by hand, costs as files have them, every operator without a rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

import effpath
from cases import Call
from check_law import agrees_with_extract
from digits_net import class_paths, graph, model
from effpath.errors import CaptureError, InputError, OptionError
from effpath.files.sealed import CHECKSUMS
from effpath.paths import IdSet, Path
from effpath.rules import LEVELS
from effpath.walk.cost import check
from nets import NETS, captured


def test_the_sizes_of_lenet_are_those_of_its_textbook_layers():
    from effpath.demo.lenet import LeNet5

    found = check(LeNet5().eval(), (1, 28, 28))
    assert found.supported
    assert [layer.name for layer in found.layers] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [layer.neurons for layer in found.layers] == [6 * 28 * 28, 16 * 10 * 10, 120, 84, 10]
    assert [layer.weights for layer in found.layers] == [150, 2400, 48000, 10080, 840]
    padded = sum(5 - max(0, 2 - i) - max(0, i - 25) for i in range(28))  # taps of one axis inside the image
    assert found.layers[0].synapses == 6 * padded**2
    assert found.layers[1].synapses == 16 * 100 * 25 * 6
    assert found.total("weights") == 61470
    assert found.class_path["weights"].at_most == sum((n + 7) // 8 for n in (150, 2400, 48000, 10080, 840))
    assert found.operators["linear"] == 3
    assert found.batched
    assert found.classes == 10
    assert found.parameter_bytes == 4 * (61470 + 6 + 16 + 120 + 84 + 10)


def test_the_activations_are_those_that_a_walk_records():
    from effpath.kernels.options import make_options
    from effpath.walk.recording import record

    for layers in (None, 2):
        found = check(model(), (1, 8, 8), layers=layers)
        recorded = record(graph(), torch.zeros(1, 1, 8, 8), options=make_options("default"), layers=layers)
        held = {name: value for name, value in recorded.values.items() if name != graph().logits}
        assert found.activation_bytes == sum(value.nbytes for value in held.values()) + recorded.logits.nbytes


@pytest.mark.parametrize("density", [0.001, 0.05, 0.4, 1.0])
@pytest.mark.parametrize("counts", [False, True])
def test_a_class_path_on_disk_costs_what_check_says(tmp_path, density, counts):
    """Of sets that hold this share of each layer's elements; header and checksums of the file come on top."""
    found = check(model(), (1, 8, 8), density=density)
    header, generator = class_paths().header, np.random.default_rng(0)
    sets: dict = {level: {} for level in LEVELS}
    for level in LEVELS:
        for layer in header.layers:
            size, share = layer.universe(level), round(density * layer.total(level))
            key = layer.parameter if level == "weights" else layer.name
            sets[level][key] = IdSet(np.sort(generator.permutation(size)[:share]), size=size)
    uses = {level: {key: np.ones(len(s), np.uint32) for key, s in of.items()} for level, of in sets.items()}
    path = Path(header, sets)
    made = effpath.ClassPaths(header, LEVELS, {0: path}, {0: uses} if counts else {})
    effpath.save_class_paths(made, tmp_path / "one.safetensors")
    with safe_open(tmp_path / "one.safetensors", framework="numpy") as opened:
        stored = sum(opened.get_tensor(name).nbytes for name in opened.keys() if name != CHECKSUMS)  # noqa: SIM118
    costs = found.class_path.values()
    assert stored == sum(cost.counted if counts else cost.held for cost in costs)
    assert all(cost.held <= cost.at_most for cost in costs)


class Odd(nn.Module):
    """Operators without a rule in two places, one more that only feeds a gate, and one that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.first, self.second = Call(lambda x: torch.cummax(x, 3)[0]), Call(lambda x: torch.cumsum(x, 2))
        self.gate = Call(lambda x: torch.cumprod(x, 1))
        self.fc = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = self.second(self.first(x) * 2)
        x = x.mean((2, 3))
        return self.fc(x * torch.sigmoid(self.gate(x)))


def test_all_operators_without_a_rule_are_named_not_only_the_first():
    found = check(Odd().eval(), (3, 6, 6))
    assert not found.supported
    assert found.layers == ()
    assert [(m.operator, m.module) for m in found.unsupported] == [("cummax", "first"), ("cumsum", "second")]
    assert all("docs/howto-add-operator.md" in m.message for m in found.unsupported)
    gates = check(Odd().eval(), (3, 6, 6), gates=True)
    assert [m.operator for m in gates.unsupported] == ["cummax", "cumsum", "cumprod"]


class Attention(nn.Module):
    """Attention whose weights come through an operator without a rule."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (F.softmax((x @ x.transpose(1, 2)).cumsum(2), 2) @ x).flatten(1)


def between(function) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), Call(function), nn.Flatten(), nn.Linear(12, 2))


ODD = {  # a network of tokens [3, 4], and whether it is supported without gates and with them
    "attention": (Attention(), True, False),
    "gate": (between(lambda x: x * torch.sigmoid(x.cumprod(1))), True, False),
    "data": (between(lambda x: x.cumsum(1)), False, False),
    "two behind one another": (between(lambda x: x.cumsum(1).sort(2)[0]), False, False),
    "a sum of what meets": (between(lambda x: x.index_add(1, torch.tensor([0]), x[:, 1:2])), False, False),
    "one that nothing reads": (between(lambda x: x + 0 * len(x.cumsum(1))), True, True),
}


@pytest.mark.parametrize("name", ODD)
def test_what_extract_refuses_check_finds_and_the_other_way_round(name: str):
    model, *supported = ODD[name]
    network = effpath.capture(model.eval(), torch.zeros(1, 3, 4))
    assert [agrees_with_extract(network, gates=gates) for gates in (False, True)] == supported


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_check_supports_a_network_just_where_extract_takes_it_and_it_is_run_in_batches(net):
    _, network = captured(net)
    assert network.batched
    for gates in (False, True):
        agrees_with_extract(network, gates=gates)


def test_attention_weights_need_rules_only_with_gates():
    network = nn.Sequential(Attention(), nn.Linear(12, 2)).eval()
    assert check(network, (3, 4)).supported
    assert [one.operator for one in check(network, (3, 4), gates=True).unsupported] == ["cumsum"]


def test_a_parameter_that_two_layers_share_costs_once():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return self.fc(F.relu(self.fc(x)))

    found = check(Shared().eval(), (2, 2, 2))
    assert [layer.weights for layer in found.layers] == [64, 64]
    assert found.total("weights") == 64
    assert found.total("synapses") == 128


def test_a_model_that_cannot_be_captured_and_a_wrong_size_or_layer_are_errors():
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(CaptureError, match="cannot capture Branch"):
        check(Branch().eval(), (1, 2, 2))
    with pytest.raises(InputError, match="cannot run"):
        check(model(), (3, 8, 8))
    with pytest.raises(OptionError, match="expected the name of a layer, got 'conv9'"):
        check(model(), (1, 8, 8), layers="conv9")


def test_an_error_that_capture_did_not_foresee_names_the_model(monkeypatch, exported_anew):
    def fail(*arguments):
        raise RuntimeError("view size is not compatible")

    monkeypatch.setattr("effpath.graph.export._convert", fail)
    with pytest.raises(CaptureError, match="LeNet5 cannot be captured: RuntimeError: view size"):
        check(model(), (1, 8, 8))


@pytest.mark.parametrize(
    ("spec", "side", "layers"),
    [
        ("torchvision:alexnet", 224, 8),
        ("torchvision:vgg16", 64, 16),
        ("torchvision:resnet50", 64, 54),
    ],
)
def test_the_papers_architectures_are_supported_by_name(spec, side, layers):
    from effpath.models import load_model

    pytest.importorskip("torchvision")
    network = load_model(spec)
    found = check(network, (3, side, side))
    assert found.supported
    assert len(found.layers) == layers
    assert found.classes == 1000
    biases = sum(value.numel() for name, value in network.named_parameters() if name.endswith("bias"))
    if spec == "torchvision:alexnet":  # the sizes that everyone quotes
        assert found.total("weights") + biases == 61_100_840
        assert found.total("neurons") == 64 * 55**2 + 192 * 27**2 + (384 + 256 + 256) * 13**2 + 4096 * 2 + 1000
