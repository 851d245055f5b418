"""Images that can be saved: rounded to 8 bits, and they still fool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import digits_net
from effpath.attacks import ATTACKS, attack
from effpath.attacks.saving import EightBit, rounded
from effpath.errors import OptionError

QUICK: dict[str, dict[str, Any]] = {
    "FGSM": {"epsilons": 100},
    "BIM": {"epsilons": 20},
    "DeepFool": {},
    "CWL2": {"steps": 50, "binary_search_steps": 4, "initial_const": 1.0, "stepsize": 0.05},
    "JSMA": {},
    "PGD": {"epsilon": 0.2},
    "APGD": {"epsilon": 0.2, "steps": 20},
    "AutoAttack": {"epsilon": 0.2, "steps": 10, "targets": 2, "queries": 50},
    "Square": {"epsilon": 0.3, "queries": 200},
    "Patch": {"scale": 0.6, "steps": 100},
    "RandomGaussian": {},
}
COUNT = 30


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    return digits_net.data().test_images[:COUNT], digits_net.data().test_labels[:COUNT]


def _saved(images: torch.Tensor, folder: Path) -> torch.Tensor:
    """Write images as PNG and read them again."""
    found = []
    for image in images:
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(folder / "one.png")
        found.append(torch.from_numpy(np.array(Image.open(folder / "one.png")))[None] / 255)
    return torch.stack(found)


@pytest.mark.parametrize("name", list(QUICK))
def test_what_is_saved_as_a_png_still_fools(name: str, tmp_path: Path) -> None:
    images, labels = _digits()
    made = attack(digits_net.model(), images, labels, name, settings=QUICK[name], savable=True)
    assert made.successes > 0
    opened = _saved(made.images, tmp_path)
    assert torch.equal(opened, made.images)
    with torch.no_grad():
        predicted = digits_net.model()(opened).argmax(1)
    assert torch.equal(predicted, made.predicted)
    if ATTACKS[name].from_clean:
        assert torch.equal(predicted != made.labels, made.succeeded)
        assert torch.equal(made.images[~made.succeeded], rounded(images)[made.source][~made.succeeded])


@pytest.mark.parametrize("name", ["FGSM", "BIM", "DeepFool", "CWL2"])
def test_a_minimal_attack_goes_on_until_the_rounded_image_fools(name: str) -> None:
    images, labels = _digits()
    images = rounded(images)
    as_found = attack(digits_net.model(), images, labels, name, settings=QUICK[name])
    with torch.no_grad():
        kept = digits_net.model()(rounded(as_found.images)).argmax(1) != as_found.labels
    savable = attack(digits_net.model(), images, labels, name, settings=QUICK[name], savable=True)
    assert savable.successes >= as_found.successes - 1
    assert savable.successes > int((kept & as_found.succeeded).sum()) or kept[as_found.succeeded].all()


def test_a_bound_is_kept_after_rounding_and_one_below_a_step_is_refused() -> None:
    images, labels = _digits()
    made = attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": 0.1}, savable=True)
    assert made.settings["epsilon"] == 25 / 255  # 0.1 is 25.5 steps
    assert made.distances[made.succeeded, 2].max() <= 25 / 255 + 1e-6
    exact = attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": 8 / 255}, savable=True)
    assert exact.settings["epsilon"] == 8 / 255
    with pytest.raises(OptionError, match=r"PGD: expected an epsilon of at least 1/255 .*; got 0\.00196"):
        attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": 0.5 / 255}, savable=True)


def test_a_savable_result_is_cached_apart_from_the_one_of_floats(tmp_path: Path) -> None:
    images, labels = _digits()
    made = [
        attack(digits_net.model(), images, labels, "FGSM", cache=tmp_path, savable=savable)
        for savable in (False, True, False, True)
    ]
    assert len(list(tmp_path.glob("FGSM-*.safetensors"))) == 2
    assert torch.equal(made[0].images, made[2].images)
    assert torch.equal(made[1].images, made[3].images)
    assert not torch.equal(made[0].images, made[1].images)


def test_a_model_that_sees_8_bits_says_what_it_says_of_the_rounded_image_and_has_its_slope() -> None:
    images = digits_net.noisy(_digits()[0])
    pixels = images.clone().requires_grad_()
    said = EightBit(digits_net.model())(pixels)
    with torch.no_grad():
        assert torch.equal(said, digits_net.model()(rounded(images)))
    (slope,) = torch.autograd.grad(said[:, 3].sum(), pixels)
    at = rounded(images).requires_grad_()
    (expected,) = torch.autograd.grad(digits_net.model()(at)[:, 3].sum(), at)
    assert torch.equal(slope, expected)
