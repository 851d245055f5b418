"""Control gates of channels, trained for each image, beside a plain loop over one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import digits_net
import effpath
from effpath.detect.evaluate import Group, evaluate
from effpath.errors import InputError, NumericalError, OptionError
from rivals.cdrp import Gates, _Gated, cdrp_gates, gated_nodes


class Tiny(nn.Module):
    """Two convolutions and a linear layer, with a factor on each channel of the convolutions where it is given."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3, stride=2)
        self.fc = nn.Linear(16, 5)
        self.double()

    def forward(self, x, gates=None):
        x = self.conv1(x)
        if gates is not None:
            x = x * gates[:3, None, None]
        x = self.conv2(F.relu(x))
        if gates is not None:
            x = x * gates[3:, None, None]
        return self.fc(F.relu(x).flatten(1))


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x):
        return F.relu(x + self.body(x), inplace=True)


def tiny(seed=0, images=6):
    torch.manual_seed(seed)
    model = Tiny().eval()
    with torch.no_grad():
        model.fc.weight *= 4  # else no class is preferred, and the penalty soon wins
    return model, torch.randn(images, 1, 8, 8, dtype=torch.float64)


def plain_loop(model, image, *, steps=30, penalty=0.05, rate=0.1, momentum=0.9):
    """As the paper says it: torch's own optimiser, one image, every pass in full."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    own = model(image[None])
    gates = torch.ones(7, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([gates], lr=rate, momentum=momentum)
    best, best_loss, best_step = None, float("inf"), None
    for step in range(steps + 1):
        logits = model(image[None], gates)
        loss = F.cross_entropy(logits, own.softmax(1)) + penalty * gates.abs().sum()
        held = bool(logits.argmax() == own.argmax())
        if held and loss < best_loss:
            best, best_loss, best_step = gates.detach().clone(), float(loss.detach()), step
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            gates.clamp_(0, 10)
    return best.numpy(), best_loss, best_step, held


@pytest.fixture(scope="module")
def digits_gates() -> Gates:
    return cdrp_gates(digits_net.graph(), digits_net.data().test_images[:40])


def gated_logits(graph, images, values):
    network = _Gated(graph, gated_nodes(graph))
    with torch.no_grad():
        return network.run(images, torch.as_tensor(values), network.start(images)[1])


# ---------------------------------------------------------------- the training


@pytest.mark.parametrize(
    "settings",
    [{}, {"steps": 1}, {"steps": 80, "penalty": 0.5}, {"rate": 3.0, "momentum": 0.5}, {"penalty": 0.0}],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_gates_are_those_of_a_plain_loop_with_torchs_optimiser(settings, seed):
    model, images = tiny(seed)
    found = cdrp_gates(effpath.capture(model, images), images, batch_size=4, **settings)
    for row, image in enumerate(images):
        values, loss, step, held = plain_loop(model, image, **settings)
        np.testing.assert_allclose(found.values[row], values, rtol=0, atol=1e-6)
        assert found.loss[row] == pytest.approx(loss, abs=1e-6)
        if settings.get("penalty") != 0.0:  # else the loss is level at the start, and rounding picks the step
            assert found.step[row] == step
        assert found.held[row] == held


def test_some_gates_close_some_are_wide_and_some_images_lose_their_prediction_on_the_way():
    found = cdrp_gates(digits_net.graph(), digits_net.data().test_images[:40], penalty=0.5, steps=80)
    assert (found.values == 0).any()
    assert (found.values > 1).any()
    assert 0 < found.held.mean() < 1


def test_gates_of_one_give_the_networks_logits_to_the_bit():
    graph, images = digits_net.graph(), digits_net.data().test_images[:9]
    assert torch.equal(gated_logits(graph, images, torch.ones(9, 22)), graph.run(images)[graph.logits])


def test_a_batch_gives_what_its_images_give_alone(digits_gates):
    images = digits_net.data().test_images[:40]
    alone = [cdrp_gates(digits_net.graph(), images[i : i + 1]) for i in range(8)]
    together = cdrp_gates(digits_net.graph(), images, batch_size=40)
    values = np.concatenate([own.values for own in alone])
    np.testing.assert_allclose(digits_gates.values[:8], values, rtol=0, atol=1e-4)
    np.testing.assert_allclose(digits_gates.values, together.values, rtol=0, atol=1e-4)
    assert np.array_equal(digits_gates.classes, together.classes)


def test_the_kept_gates_give_the_networks_prediction_at_the_loss_they_report(digits_gates):
    graph, images = digits_net.graph(), digits_net.data().test_images[:40]
    own, gated = graph.run(images)[graph.logits], gated_logits(graph, images, digits_gates.values)
    assert torch.equal(gated.argmax(1), own.argmax(1))
    assert np.array_equal(own.argmax(1).numpy(), digits_gates.classes)
    assert np.array_equal(own.numpy(), digits_gates.logits)
    loss = F.cross_entropy(gated, own.softmax(1), reduction="none").numpy() + 0.05 * digits_gates.values.sum(1)
    np.testing.assert_allclose(digits_gates.loss, loss, rtol=1e-4)
    start = F.cross_entropy(own, own.softmax(1), reduction="none").numpy() + 0.05 * 22
    assert (digits_gates.loss < start).all()
    assert digits_gates.values.std(axis=0).min() > 0


def test_gates_stay_within_0_and_10_however_large_the_steps(monkeypatch):
    met, run = [], _Gated.run

    def spied(network, images, gates, before):
        met.append(gates.detach())
        return run(network, images, gates, before)

    monkeypatch.setattr(_Gated, "run", spied)
    cdrp_gates(digits_net.graph(), digits_net.data().test_images[:9], rate=20.0, penalty=0.001)
    assert len(met) == 30
    assert all(gates.shape == (9, 22) for gates in met)
    assert (min(map(torch.min, met)), max(map(torch.max, met))) == (0, 10)


def test_the_parameters_of_model_and_graph_take_no_gradient():
    model, images = tiny()
    graph = effpath.capture(model, images)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cdrp_gates(graph, images)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(constant.grad is None and not constant.requires_grad for constant in graph.constants.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_gates_are_trained_where_gradients_are_switched_off():
    model, images = tiny()
    graph = effpath.capture(model, images)
    with torch.no_grad():
        off = cdrp_gates(graph, images)
    assert np.array_equal(off.values, cdrp_gates(graph, images).values)


def test_a_network_that_mixes_the_images_of_a_batch_is_run_image_by_image():
    class Normalised(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x / x.abs().max())

    inner, images = tiny()
    graph = effpath.capture(Normalised(inner).eval(), images)
    assert not graph.batched
    expected = cdrp_gates(effpath.capture(inner, images), images / images.abs().amax((1, 2, 3), keepdim=True))
    np.testing.assert_allclose(cdrp_gates(graph, images).values, expected.values, atol=1e-6)


# ---------------------------------------------------------------- which nodes have gates


def test_alexnet_has_1152_gates_on_its_convolutions():
    models = pytest.importorskip("torchvision.models")
    model = models.alexnet(weights=None).eval()
    graph = effpath.capture(model, torch.zeros(1, 3, 224, 224))
    found = gated_nodes(graph)
    assert list(found) == ["features.0", "features.3", "features.6", "features.8", "features.10"]
    assert sum(graph.shape(name)[dim] for name, dim in found.items()) == 1152


def test_a_residual_network_has_gates_on_the_outputs_of_its_blocks():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), Block(4), Block(4), nn.Flatten(), nn.Linear(144, 3)).eval()
    images = torch.randn(3, 1, 8, 8)
    graph = effpath.capture(model, images)
    before = graph.run(images)[graph.logits]
    found = cdrp_gates(graph, images)
    assert gated_nodes(graph) == {"1.add": 1, "2.add": 1}
    assert found.names == tuple(f"{block}.add:{channel}" for block in (1, 2) for channel in range(4))
    assert found.step.min() > 0
    assert torch.equal(graph.run(images)[graph.logits], before)


def test_named_nodes_have_gates_in_forward_order():
    graph, images = digits_net.graph(), digits_net.data().test_images[:2]
    found = cdrp_gates(graph, images, gated=["fc1", "conv2"], steps=2)
    assert found.names == tuple([f"conv2:{i}" for i in range(16)] + [f"fc1:{i}" for i in range(120)])


def test_tokens_have_their_channels_last():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.mlp, self.head = nn.Conv2d(1, 6, 4, stride=4), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.head((x + self.mlp(x)).mean(1))

    graph = effpath.capture(Tokens().eval(), torch.zeros(1, 1, 8, 8))
    assert gated_nodes(graph) == {"add": 2}
    assert len(cdrp_gates(graph, torch.randn(2, 1, 8, 8), steps=3).names) == 6


def test_a_network_of_linear_layers_has_gates_on_all_but_the_last():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    assert gated_nodes(effpath.capture(model, torch.zeros(1, 1, 2, 2))) == {"1": 1}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps and batch_size must be at least 1, got 0 and 16"),
        ({"batch_size": 0}, "got 30 and 0"),
        ({"penalty": -1.0}, "penalty=-1.0"),
        ({"penalty": float("nan")}, "penalty=nan"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"rate": float("inf")}, "rate=inf"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"gated": "conv1"}, r"got 'conv1'; write \['conv1'\]"),
        ({"gated": ["conv1", "conv9"]}, "'conv9' cannot be gated; expected nodes .* conv1, relu1"),
        ({"gated": ["fc3"]}, "'fc3' cannot be gated"),
        ({"gated": []}, "nothing is gated"),
    ],
    ids=str,
)
def test_bad_options_are_refused(settings, message):
    with pytest.raises(OptionError, match=message):
        cdrp_gates(digits_net.graph(), digits_net.data().test_images[:1], **settings)


def test_bad_images_are_refused():
    images = digits_net.data().test_images[:3].clone()
    with pytest.raises(InputError, match="got none"):
        cdrp_gates(digits_net.graph(), images[:0])
    images[1, 0, 2, 2] = float("nan")
    with pytest.raises(NumericalError, match=r"images at index \[1\]"):
        cdrp_gates(digits_net.graph(), images)
    images[1, 0, 2, 2] = 3e38
    with pytest.raises(NumericalError, match="in the logits of 1 images"):
        cdrp_gates(digits_net.graph(), images)


# ---------------------------------------------------------------- as features


def test_gates_are_judged_by_the_protocol_of_path_similarities():
    data, seen = digits_net.data(), []
    count = 60
    clean, noisy = data.test_images[:count], digits_net.noisy(data.test_images[:count])
    groups = [
        Group(
            name,
            cdrp_gates(digits_net.graph(), pixels, progress=lambda *done: seen.append(done)).features(),
            np.arange(count),
        )
        for name, pixels in (("clean", clean), ("noise", noisy))
    ]
    kinds = ("gates", "forest", "adaboost", "boosting")
    judged = evaluate(groups[0], groups[1:], kinds=kinds, fractions=(0.4, 0.1, 0.5))
    assert all(judged.scores[kind]["noise"].auc.value > 0.6 for kind in kinds)
    assert judged.scores["max softmax"]["noise"].auc.value > 0.5
    assert seen == 2 * [(16, 60), (32, 60), (48, 60), (60, 60)]
