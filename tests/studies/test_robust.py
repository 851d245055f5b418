"""Networks trained against PGD: the attacks of the training, what is written, the networks that are committed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import robust
from effpath.data import Dataset, Part
from effpath.models.predict import predict
from effpath.models.weights import load_weights
from small_resnet import SmallResNet
from sources import read_result
from training import Recipe


def part(count: int = 24) -> Part:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % 3
    return Part((torch.rand(count, 1, 8, 8, generator=generator) + labels[:, None, None, None] / 3) / 2, labels)


def small() -> SmallResNet:
    return SmallResNet(3, channels=1, width=4, blocks=1)


HOW = robust.Robust("none", small, Recipe(epochs=2, batch_size=8, vary=False), 0.1, 3)


def test_the_attacks_of_the_training_stay_in_a_bound_that_grows_and_raise_the_loss() -> None:
    torch.manual_seed(0)
    model, images = small(), part()
    pixels = images.images[:]
    loss = torch.nn.functional.cross_entropy
    for share, bound in ((0.0, 0.0), (1 / 6, 0.05), (0.5, 0.1), (1.0, 0.1)):
        made = robust.descent(0.1, 5, torch.Generator().manual_seed(0))(model, pixels, images.labels, share)
        assert model.training
        assert float((made - pixels).abs().max()) <= bound + 1e-6
        assert float(made.min()) >= 0
        assert float(made.max()) <= 1
        assert not made.requires_grad
        with torch.no_grad():
            model.eval()
            assert (loss(model(made), images.labels) > loss(model(pixels), images.labels)) == (bound > 0)


def test_what_is_written_is_what_was_measured(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "cache"))
    data = Dataset("few", {"train": part(), "test": part(12)}, ("a", "b", "c"))
    weights = tmp_path / "weights.safetensors"
    table = robust.measure("few", HOW, data, weights)
    model = small()
    load_weights(model, weights)
    found = predict(model.eval(), data.test_images, 5)
    assert table["accuracy"] == pytest.approx(float((found == data.test_labels).double().mean()), abs=1e-4)
    assert 0 <= table["robust_accuracy"] <= table["accuracy"]
    assert (table["attacked_images"], table["device"], table["epsilon"]) == (12, "cpu", 0.1)
    again = robust.measure(
        "few", replace(HOW, epsilon=0.2), data, weights
    )  # not what the cache holds of another ε
    assert again["epsilon"] == 0.2


def test_the_command_keeps_a_result_that_is_there(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(robust, "measure", lambda name, how, *rest: {"network": name, "epochs": how.recipe.epochs})
    monkeypatch.setattr(robust, "load_data", lambda spec, seed: spec)
    file = tmp_path / "n.json"
    words = ["--case", "lenet_mnist", "--data", "digits", "--output", str(file), "--epochs", "3"]
    robust.main(words)
    robust.main([*words[:-1], "4"])
    assert read_result(file)["epochs"] == 3
    assert "is there" in capsys.readouterr().out


@pytest.mark.parametrize("name", robust.ROBUST)
def test_the_committed_networks_are_small_and_run(name) -> None:
    model = robust.network(name)
    channels, side = (1, 28) if name == "lenet_mnist" else (3, 32)
    assert model(torch.rand(2, channels, side, side)).shape == (2, 10)
    assert robust.weights_of(name).stat().st_size < 2_000_000
