"""Networks whose tensors lie in memory in awkward ways: the compiled walk goes where the plain one goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
import known_graphs
from cases import PRESETS, options_of
from effpath.backends import threads as shared
from effpath.kernels.options import make_options
from effpath.rules import plan_for
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import paths_of
from two_backends import equal_for, equal_paths, equal_walks

CLASSES = 6


class Net(nn.Module):
    """Layers by name, and what is done with them: ``forward(layers, image)``."""

    def __init__(self, forward: Callable[[nn.ModuleDict, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleDict(layers), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layers, x)


def chain(*layers: nn.Module, inputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, CLASSES))


def conv(*args: int, **kwargs: object) -> nn.Module:
    return nn.Sequential(nn.Conv2d(*args, **kwargs), nn.ReLU())


def both_readings(m: nn.ModuleDict, x: Tensor) -> Tensor:
    """One tensor read by a convolution and, the same memory, by a linear layer along its last dimension."""
    x = m["stem"](x).relu()
    image = m["conv"](x).relu().mean((2, 3))
    tokens = m["mix"](x).relu().flatten(1)
    return m["head"](torch.cat([image, tokens], 1))


def flat_and_image(m: nn.ModuleDict, x: Tensor) -> Tensor:
    """One tensor read whole by a linear layer and by a convolution."""
    x = m["stem"](x).relu()
    return m["head"](x.flatten(1)) + m["conv"](x).relu().mean((2, 3))


def two_shapes(m: nn.ModuleDict, x: Tensor) -> Tensor:
    """The same elements as [8, 4, 6], as [4, 8, 6] and as [16, 12]."""
    x = m["stem"](x).relu()
    first = m["conv"](x).mean((2, 3))
    second = m["other"](x.view(-1, 4, 8, 6)).mean((2, 3))
    return first + second + m["long"](x.view(-1, 16, 12)).mean(2)


def tokens_of_image(m: nn.ModuleDict, x: Tensor) -> Tensor:
    x = m["stem"](x).relu()  # [8, 3, 3]
    tokens = x.flatten(2).transpose(1, 2)
    tokens = tokens + m["mix"](tokens).relu()
    image = tokens.transpose(1, 2).reshape(-1, 8, 3, 3)
    return m["head"](tokens.mean(1)) + m["conv"](image).relu().mean((2, 3))


def shared_by_gate(m: nn.ModuleDict, x: Tensor) -> Tensor:
    """Gated data that is read without its gate too: the gate may not learn of that."""
    x = m["stem"](x).relu()
    gate = torch.sigmoid(m["gate"](x))
    return m["head"]((x * gate).mean((2, 3))) + m["other"](x.flatten(1))


def shared_by_equals(m: nn.ModuleDict, x: Tensor) -> Tensor:
    one, other = m["stem"](x), m["gate"](x)
    return m["head"]((one * other).mean((2, 3))) + m["other"](one.flatten(1))


def cats_and_sums(m: nn.ModuleDict, x: Tensor) -> Tensor:
    x = m["stem"](x).relu()
    y = torch.cat([x, m["conv"](x).relu(), x.flip(2)], 1)  # [8 + 8 + 8, 4, 6]
    y = torch.maximum(y, y.roll(1, 1)) + m["bias"](x.mean((2, 3)))[:, :, None, None]
    y = torch.add(y, y.flip(3), alpha=-0.5)
    return m["head"](y[:, 1::2].mean((2, 3)))


def ends_in_a_convolution(m: nn.ModuleDict, x: Tensor) -> Tensor:
    return m["conv"](m["stem"](x).relu()).flatten(1)[:, ::3]


def ends_in_a_sum(m: nn.ModuleDict, x: Tensor) -> Tensor:
    x = m["stem"](x).relu()
    return (x + m["conv"](x)).flatten(1)


def ends_in_channels(m: nn.ModuleDict, x: Tensor) -> Tensor:
    """The logits are images of several positions, read by nobody."""
    return m["conv"](m["stem"](x).relu()).flatten(1)


def attends(m: nn.ModuleDict, x: Tensor) -> Tensor:
    x = m["stem"](x).flatten(2).transpose(1, 2)  # [9, 8]
    q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in m["qkv"](x).chunk(3, -1))
    x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return m["head"](x.mean(1))


def mixes_places(m: nn.ModuleDict, x: Tensor) -> Tensor:
    """Products of two tensors of the image whose result a convolution reads, channels last."""
    x = m["stem"](x).relu()  # [16, 3, 3]
    places = m["where"](x).flatten(2).softmax(2).transpose(1, 2)  # [9, 5]
    mixed = m["conv"](x.flatten(2) @ places)  # [16, 5]
    spread = mixed.relu() @ places.transpose(1, 2)
    return m["last"](spread.view(-1, 16, 3, 3)).flatten(1)


def heads_as_images(m: nn.ModuleDict, x: Tensor) -> Tensor:
    """Convolutions and a pooling over parts of an image that are laid out as images of their own."""
    x = m["stem"](x).relu().view(-1, 8, 3, 3)  # two parts
    x = m["depth"](F.max_pool2d(m["conv"](x).relu(), 2, 1)).relu()
    return m["head"](x.reshape(-1, 2 * 16 * 4))


def pooled(m: nn.ModuleDict, x: Tensor) -> Tensor:
    x = F.avg_pool2d(F.max_pool2d(m["stem"](x).relu(), 2, padding=1), 2, ceil_mode=True)
    return m["head"](F.interpolate(x, size=(3, 2), mode="bilinear").flatten(1))


def net(
    function: Callable[[nn.ModuleDict, Tensor], Tensor], **layers: Callable[[], nn.Module]
) -> Callable[[], nn.Module]:
    return lambda: Net(function, **{name: make() for name, make in layers.items()})


def layer(kind: type[nn.Module], *args: object, **kwargs: object) -> Callable[[], nn.Module]:
    return lambda: kind(*args, **kwargs)


IMAGE = (3, 4, 6)
NETS: dict[str, tuple[Callable[[], nn.Module], Sequence[int]]] = {
    "image and tokens": (
        net(
            both_readings, stem=layer(nn.Conv2d, 3, 8, 3, padding=1), conv=layer(nn.Conv2d, 8, 5, 3),
            mix=layer(nn.Linear, 6, 2), head=layer(nn.Linear, 5 + 8 * 4 * 2, CLASSES),
        ), IMAGE,
    ),
    "image and tokens, as many channels as features": (
        net(
            both_readings, stem=layer(nn.Conv2d, 3, 6, 3, padding=1), conv=layer(nn.Conv2d, 6, 5, 3),
            mix=layer(nn.Linear, 6, 2), head=layer(nn.Linear, 5 + 6 * 4 * 2, CLASSES),
        ), IMAGE,
    ),
    "image and flat": (
        net(
            flat_and_image, stem=layer(nn.Conv2d, 3, 16, 3, padding=1), conv=layer(nn.Conv2d, 16, CLASSES, 3),
            head=layer(nn.Linear, 16 * 24, CLASSES),
        ), IMAGE,
    ),
    "three shapes of one tensor": (
        net(
            two_shapes, stem=layer(nn.Conv2d, 3, 8, 3, padding=1), conv=layer(nn.Conv2d, 8, CLASSES, 3),
            other=layer(nn.Conv2d, 4, CLASSES, 3, padding=1), long=layer(nn.Conv1d, 16, CLASSES, 3),
        ), IMAGE,
    ),
    "image to tokens and back": (
        net(
            tokens_of_image, stem=layer(nn.Conv2d, 3, 8, 2), mix=layer(nn.Linear, 8, 8),
            conv=layer(nn.Conv2d, 8, CLASSES, 2), head=layer(nn.Linear, 8, CLASSES),
        ), (3, 4, 4),
    ),
    "gate beside its data": (
        net(
            shared_by_gate, stem=layer(nn.Conv2d, 3, 8, 3), gate=layer(nn.Conv2d, 8, 8, 1),
            head=layer(nn.Linear, 8, CLASSES), other=layer(nn.Linear, 8 * 2 * 4, CLASSES),
        ), IMAGE,
    ),
    "product of equals beside one of them": (
        net(
            shared_by_equals, stem=layer(nn.Conv2d, 3, 8, 3), gate=layer(nn.Conv2d, 3, 8, 3),
            head=layer(nn.Linear, 8, CLASSES), other=layer(nn.Linear, 8 * 2 * 4, CLASSES),
        ), IMAGE,
    ),
    "concatenations, broadcasts, maximum, alpha": (
        net(
            cats_and_sums, stem=layer(nn.Conv2d, 3, 8, 3, padding=1), conv=layer(nn.Conv2d, 8, 8, 1),
            bias=layer(nn.Linear, 8, 24), head=layer(nn.Linear, 12, CLASSES),
        ), IMAGE,
    ),
    "logits from a strided slice of a convolution": (
        net(ends_in_a_convolution, stem=layer(nn.Conv2d, 3, 7, 2), conv=layer(nn.Conv2d, 7, 5, 2)), IMAGE,
    ),
    "logits from a convolution": (
        net(ends_in_channels, stem=layer(nn.Conv2d, 3, 16, 2), conv=layer(nn.Conv2d, 16, 5, 2)), IMAGE,
    ),
    "logits from a sum of images": (
        net(ends_in_a_sum, stem=layer(nn.Conv2d, 3, 4, 3), conv=layer(nn.Conv2d, 4, 4, 3, padding=1)), IMAGE,
    ),
    "attention": (
        net(
            attends, stem=layer(nn.Conv2d, 3, 8, 2), qkv=layer(nn.Linear, 8, 24),
            head=layer(nn.Linear, 8, CLASSES),
        ), (3, 4, 4),
    ),
    "products that a convolution reads": (
        net(
            mixes_places, stem=layer(nn.Conv2d, 3, 16, 2), where=layer(nn.Conv2d, 16, 5, 1),
            conv=layer(nn.Conv1d, 16, 16, 1), last=layer(nn.Conv2d, 16, CLASSES, 3),
        ), (3, 4, 4),
    ),
    "parts as images": (
        net(
            heads_as_images, stem=layer(nn.Conv2d, 3, 16, 2), conv=layer(nn.Conv2d, 8, 16, 3, padding=1, groups=2),
            depth=layer(nn.Conv2d, 16, 16, 3, padding=1, groups=16), head=layer(nn.Linear, 128, CLASSES),
        ), (3, 4, 4),
    ),
    "poolings and a resize": (
        net(pooled, stem=layer(nn.Conv2d, 3, 7, 3, padding=1), head=layer(nn.Linear, 42, CLASSES)), (3, 7, 6),
    ),
    "strided 1x1": (chain(conv(3, 16, 1), conv(16, 9, 1, stride=2), inputs=9 * 6), IMAGE),
    "grouped, groups of 16": (chain(conv(3, 64, 1), conv(64, 12, 3, groups=4, padding=1), inputs=288), IMAGE),
    "grouped, groups of 3": (chain(conv(3, 12, 1), conv(12, 8, 3, groups=4, padding=1), inputs=192), IMAGE),
    "depthwise and pointwise": (
        chain(conv(3, 16, 1), conv(16, 32, 3, groups=16), conv(32, 7, 1), inputs=56), IMAGE,
    ),
    "depthwise, odd": (chain(conv(3, 7, 1), conv(7, 7, 3, groups=7, padding=1, stride=2), inputs=42), IMAGE),
    "more than 64 channels": (
        chain(conv(3, 80, 1), conv(80, 96, 3, padding=1), conv(96, 65, 1), inputs=1560), IMAGE,
    ),
    "odd channels": (chain(conv(3, 17, 3, padding=1), conv(17, 33, 2, dilation=2), inputs=264), IMAGE),
    "kernel larger than the image": (chain(conv(3, 16, 1), conv(16, 5, 9, padding=4), inputs=120), IMAGE),
    "kernel larger, few channels": (chain(conv(3, 5, (7, 11), padding=(3, 5)), inputs=120), IMAGE),
    "padding wider than the kernel": (chain(conv(3, 16, 1), conv(16, 4, 2, padding=2), inputs=252), IMAGE),
    "transposed, 16 channels": (
        chain(conv(3, 16, 1), nn.ConvTranspose2d(16, 5, 3, stride=2, padding=1), nn.ReLU(), inputs=385), IMAGE,
    ),
    "transposed, 6 channels in groups": (
        chain(conv(3, 6, 1), nn.ConvTranspose2d(6, 4, 2, stride=3, groups=2), nn.ReLU(), inputs=748), IMAGE,
    ),
    "conv1d and conv3d": (
        chain(
            nn.Conv1d(3, 16, 3, padding=1), nn.ReLU(), nn.Unflatten(1, (1, 4, 4)), nn.Conv3d(1, 2, (2, 3, 3)),
            nn.ReLU(), inputs=48,
        ), (3, 6),
    ),
}  # fmt: skip


@cache
def graph_of(name: str) -> tuple[effpath.Graph, Tensor]:
    """A network's graph, and the state of the generator from which its images are drawn."""
    make, shape = NETS[name]
    torch.manual_seed(len(name))
    model = make().eval()
    for parameter in model.parameters():
        parameter.data *= 2
    state = torch.get_rng_state()
    return known_graphs.captured(f"layout {name}", model, torch.zeros(1, *shape)), state


@cache
def captured(name: str, batch: int = 3) -> tuple[effpath.Graph, Tensor]:
    graph, state = graph_of(name)
    images = torch.randn(batch, *NETS[name][1], generator=torch.Generator().set_state(state))
    images[0] = (images[0] * 2).round() / 2
    return graph, images


def recorded_for(name: str, preset: str = "default", batch: int = 3) -> Recorded:
    graph, images = captured(name, batch)
    return record(graph, images, options=options_of(preset, 0.5), include_auxiliary=True)


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_both_backends_find_the_same_path(name: str, gates: bool) -> None:
    graph, images = captured(name)
    chosen = [options_of(preset, theta) for preset in PRESETS for theta in (0.3, 0.5, 1.0)]
    variants = [make_options(options, gates=gates) for options in chosen]
    assert sum(equal_for(graph, images, *variants)) > 500


@pytest.mark.parametrize("name", NETS)
def test_both_backends_find_the_same_part_of_a_path(name: str) -> None:
    graph, images = captured(name)
    layers = plan_for(graph).layers
    for wanted in (1, max(1, len(layers) - 1), layers[0].name):
        equal_for(graph, images, options_of("default", 0.5), layers=wanted)


@pytest.mark.parametrize("name", NETS)
def test_the_path_of_five_images_together_is_that_of_each_alone(name: str) -> None:
    recorded = recorded_for(name, batch=5)
    whole = paths_of(recorded)
    for i in range(5):
        alone = recorded.select(slice(i, i + 1))
        equal_paths(alone)
        assert paths_of(alone)[0] == whole[i]
        assert paths_of(alone).pixels[0].tolist() == whole.pixels[i].tolist()


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("name", NETS)
def test_two_threads_choose_what_one_chooses(name: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "WORTH_A_THREAD", 0)
    recorded = recorded_for(name, batch=5).select(slice(0, batch))
    active = torch.ones_like(recorded.logits, dtype=torch.bool)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        both, _ = equal_walks(recorded, active)
    finally:
        torch.set_num_threads(threads)
    alone, _ = equal_walks(recorded, active)
    assert all(both.synapses[key].values.tolist() == rows.values.tolist() for key, rows in alone.synapses.items())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recording_can_be_read_by_the_other_backend(preset: str) -> None:
    graph, images = captured("image and tokens")
    plain = record(graph, images, options=options_of(preset, 0.5), backend="reference")
    turned = record(graph, images, options=options_of(preset, 0.5)).plainly()
    assert plain.plainly() is plain
    assert turned.values.keys() == plain.values.keys()
    for name, value in plain.values.items():
        assert turned.values[name].shape == value.shape
        torch.testing.assert_close(turned.values[name], value)


def test_the_logits_of_both_backends_stand_in_the_order_of_the_classes() -> None:
    for name in NETS:
        graph, images = captured(name)
        for backend in ("compiled", "reference"):
            logits = effpath.extract(graph, images, backend=backend).logits
            torch.testing.assert_close(torch.from_numpy(logits), graph.run(images)[graph.logits])
