"""Training of our own small networks: crops by hand, a killed run beside one that was not, CIFAR-100's classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import cifar100
import effpath
import training
from effpath.data import Dataset, Part
from effpath.models.weights import load_weights
from small_resnet import SmallResNet
from sources import read_result
from training import BORDER, Recipe, train, varied


def tiny(seed: int = 0) -> SmallResNet:
    torch.manual_seed(seed)
    return SmallResNet(3, channels=1, width=4, blocks=1)


def part(count: int = 30, channels: int = 1, classes: int = 3) -> Part:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % classes
    images = torch.rand(count, channels, 8, 8, generator=generator)
    return Part((images + labels[:, None, None, None] / classes) / 2, labels)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_varied_image_is_a_crop_of_it_in_black_flipped_or_not() -> None:
    images = torch.rand(40, 2, 6, 5)
    generator = torch.Generator().manual_seed(0)
    found = varied(images, generator)
    assert found.shape == images.shape
    flips = 0
    for image, own in zip(images, found, strict=True):
        padded = functional.pad(image, (BORDER,) * 4)
        crops = [padded[:, top : top + 6, left : left + 5] for top in range(9) for left in range(9)]
        plain, flipped = (any(torch.equal(own, c) for c in many) for many in (crops, [c.flip(2) for c in crops]))
        assert plain or flipped
        flips += flipped and not plain
    assert 5 < flips < 35
    assert not torch.equal(varied(images, generator), found)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    recipe = Recipe(peak=0.5, warm=0.25)
    rates = [recipe.rate(share / 100) for share in range(101)]
    assert rates[25] == max(rates) == pytest.approx(0.5)
    assert rates == sorted(rates[:26]) + sorted(rates[26:], reverse=True)
    assert rates[0] == pytest.approx(0.01)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_a_killed_training_goes_on_after_its_last_epoch_as_if_nothing_had_been(tmp_path) -> None:
    recipe, file = Recipe(epochs=3, batch_size=10), tmp_path / "epoch.pt"
    whole, seen = tiny(), []
    train(whole, part(), recipe, after=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 9) for done in range(10)]
    assert not whole.training

    def kill(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), part(), recipe, checkpoint=file, after=kill)
    again, further = tiny(seed=1), []
    train(again, part(), recipe, checkpoint=file, after=lambda done, total: further.append(done))
    assert further == [3, 4, 5, 6, 7, 8, 9]
    assert equal(again.state_dict(), whole.state_dict())
    other = tiny()
    train(other, part(), replace(recipe, seed=1))
    assert not equal(other.state_dict(), whole.state_dict())


def test_training_learns(monkeypatch) -> None:
    monkeypatch.setattr(training, "BORDER", 1)
    model, images = tiny(), part(60)
    train(model, images, Recipe(epochs=30, batch_size=20, peak=0.1))
    assert (model(images.images).argmax(1) == images.labels).double().mean() > 0.8


def test_the_network_is_the_published_one_in_size_and_can_be_captured() -> None:
    assert sum(value.numel() for value in SmallResNet(10).parameters()) == 269_722  # He et al.: 0.27 million
    model = tiny().eval()
    graph = effpath.capture(model, torch.rand(2, 1, 8, 8))
    images = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(graph(images), model(images), atol=1e-5, rtol=1e-4)
    assert effpath.extract(graph, images)[0].density() > 0
    assert graph.batched


def test_the_classes_of_cifar100_form_twenty_superclasses_of_five() -> None:
    assert len(cifar100.SUPERCLASSES) == 20
    assert {len(names) for names in cifar100.SUPERCLASSES.values()} == {5}
    assert len(cifar100.CLASSES) == len(set(cifar100.CLASSES)) == 100
    assert cifar100.CLASSES[:2] == ("apple", "aquarium_fish")
    assert cifar100.CLASSES[-1] == "worm"


def test_the_weights_are_written_in_half_precision_and_their_accuracy_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "cache"))
    data = Dataset("few", {"train": part(24, 3, 4), "test": part(16, 3, 4)}, ("orchid", "poppy", "sea", "x"))
    weights = tmp_path / "weights.safetensors"
    table = cifar100.measure(data, Recipe(epochs=1, batch_size=12), weights)
    assert weights.stat().st_size == table["weights_bytes"] < 2_000_000
    model = SmallResNet(4)
    load_weights(model, weights)
    assert all(value.half().float().equal(value.float()) for value in model.state_dict().values())
    found = model.eval()(data.test_images).argmax(1)
    assert table["accuracy"] == pytest.approx(float((found == data.test_labels).double().mean()), abs=1e-4)
    groups = ["flowers", "flowers", "scenes", "x"]
    same = [groups[one] == groups[two] for one, two in zip(found.tolist(), data.test_labels.tolist(), strict=True)]
    assert table["superclass_accuracy"] == pytest.approx(sum(same) / 16, abs=1e-4)
    assert table["recipe"]["epochs"] == 1


def test_the_command_keeps_a_result_that_is_there(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        cifar100, "measure", lambda data, recipe, device: {"network": "n", "epochs": recipe.epochs}
    )
    monkeypatch.setattr(cifar100, "load_data", lambda spec: spec)
    file = tmp_path / "n.json"
    words = ["--data", "cifar100:x", "--output", str(file), "--threads", "1", "--epochs", "3"]
    cifar100.main(words)
    assert read_result(file)["epochs"] == 3
    cifar100.main([*words[:-1], "4"])
    assert read_result(file)["epochs"] == 3
    assert "is there" in capsys.readouterr().out


@pytest.mark.skipif(not cifar100.WEIGHTS.exists(), reason="the weights are not there")
def test_the_committed_network_names_its_outputs_and_is_small() -> None:
    model = cifar100.network()
    assert model.classes == cifar100.CLASSES
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 100)
    assert cifar100.WEIGHTS.stat().st_size < 2_000_000


def test_a_folder_is_of_one_network_its_settings_and_images(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path))
    folders: set[Path] = {
        training.folder_of(what, {"seed": seed}, part(count))
        for what in "ab"
        for seed in (0, 1)
        for count in (9, 12)
    }
    assert len(folders) == 8
    assert training.folder_of("a", {"seed": 0}, part(9)) in folders
