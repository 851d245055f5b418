"""LeNet-5 and the training loop."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from effpath.data import load_data
from effpath.demo.lenet import LeNet5
from effpath.demo.train import accuracy, train_classifier
from effpath.errors import InputError, OptionError


def _toy(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose left half is bright in class 0 and whose right half is in class 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = torch.rand(count, 1, 8, 8, generator=generator) / 4
    for row, label in enumerate(labels.tolist()):
        images[row, :, :, 4 * label : 4 * label + 4] += 0.5
    return images, labels


def _net(seed: int = 0) -> LeNet5:
    torch.manual_seed(seed)
    return LeNet5(8, classes=2)


@pytest.mark.parametrize("size", [8, 16, 28, 32])
def test_lenet_takes_images_of_each_size(size: int) -> None:
    assert LeNet5(size, classes=7)(torch.rand(3, 1, size, size)).shape == (3, 7)


def test_lenet_on_mnist_has_the_known_number_of_weights_and_the_promised_names() -> None:
    net = LeNet5()
    assert sum(p.numel() for p in net.parameters()) == 61_706  # known from the literature
    names = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2"]
    names += ["flatten", "fc1", "relu3", "fc2", "relu4", "fc3"]
    assert [name for name, _ in net.named_children()] == names


def test_lenet_of_an_impossible_size_is_refused() -> None:
    with pytest.raises(OptionError, match="image_size=3"):
        LeNet5(3)


def test_training_learns_and_leaves_the_model_in_eval_mode_without_gradients() -> None:
    images, labels = _toy()
    net = _net()
    train_classifier(net, images, labels, epochs=5, seed=0, batch_size=16)
    assert not any(module.training for module in net.modules())
    assert all(p.grad is None for p in net.parameters())
    assert accuracy(net, images, labels) == 1.0


def test_training_is_repeatable_and_leaves_the_global_generator_alone() -> None:
    images, labels = _toy()
    weights = []
    for seed in (3, 3, 4):
        net = nn.Sequential(_net(), nn.Dropout(0.5))
        torch.manual_seed(99)
        train_classifier(net, images, labels, epochs=1, seed=seed, batch_size=16)
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
        after = torch.rand(1)
        torch.manual_seed(99)
        assert torch.equal(after, torch.rand(1))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_progress_counts_every_batch_to_the_total() -> None:
    images, labels = _toy(20)
    seen: list[tuple[int, int]] = []
    train_classifier(
        _net(), images, labels, epochs=2, seed=0, batch_size=8, progress=lambda *now: seen.append(now)
    )
    assert seen == [(k, 6) for k in range(1, 7)]


def test_an_interrupted_training_leaves_the_model_in_eval_mode() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    images, labels = _toy()
    net = _net()
    with pytest.raises(KeyboardInterrupt):
        train_classifier(net, images, labels, epochs=1, seed=0, progress=stop)
    assert not net.training


def test_accuracy_is_the_share_of_hits_whatever_the_batch_size() -> None:
    class Brightest(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    images = torch.eye(4).reshape(4, 1, 2, 2)
    labels = torch.tensor([0, 1, 2, 0])
    assert [accuracy(Brightest(), images, labels, batch_size=size) for size in (1, 3, 100)] == [0.75] * 3


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 1, 8, 8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 8, 8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2)),
        (torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64)),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(InputError, match="expected images"):
        train_classifier(_net(), images, labels, epochs=1, seed=0)
    with pytest.raises(InputError, match="expected images"):
        accuracy(_net(), images, labels)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}])
def test_an_option_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    images, labels = _toy()
    with pytest.raises(OptionError):
        train_classifier(_net(), images, labels, **{"epochs": 1, "seed": 0, **wrong})


def test_lenet_reaches_96_percent_on_digits() -> None:
    data = load_data("digits")
    torch.manual_seed(0)
    net = LeNet5(8)
    train_classifier(
        net, data.train_images, data.train_labels, epochs=40, seed=0, batch_size=64, learning_rate=1e-2
    )
    assert accuracy(net, data.test_images, data.test_labels) >= 0.96


@pytest.mark.skipif("EFFPATH_DATA" not in os.environ, reason="EFFPATH_DATA, a folder with mnist/, is not set")
def test_lenet_reaches_98_and_a_half_percent_on_mnist() -> None:
    data = load_data(f"mnist:{os.environ['EFFPATH_DATA']}/mnist")
    torch.manual_seed(0)
    net = LeNet5()
    train_classifier(net, data.train_images, data.train_labels, epochs=2, seed=0)
    assert accuracy(net, data.test_images, data.test_labels) >= 0.985
