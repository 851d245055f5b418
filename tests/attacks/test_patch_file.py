"""Patches that are trained on other images than those attacked: square and round, sharp and smooth, from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import digits_net
from effpath.attacks import AdversarialSet, attack, train_patch
from effpath.attacks.patches import draw_places, paste, spread
from effpath.errors import InputError, OptionError, StoreError

TRAINED = {"scale": 0.6, "steps": 150}


def _attack(patch: torch.Tensor, folder: Path, **settings: object) -> AdversarialSet:
    np.save(folder / "patch.npy", patch.numpy())
    data = digits_net.data()
    given = {"file": folder / "patch.npy", "scale": 0.6, **settings}
    return attack(digits_net.model(), data.test_images[:100], data.test_labels[:100], "PatchFile", settings=given)


def _trained(target: int, seed: int = 0, **settings: object) -> torch.Tensor:
    images = digits_net.data().train_images[:200]
    return train_patch(digits_net.model(), images, target, settings={**TRAINED, **settings}, seed=seed)


@pytest.mark.parametrize("shape", ["square", "round"])
@pytest.mark.parametrize("cells", [0, 2])
def test_a_patch_brings_images_that_it_never_saw_to_its_target(shape: str, cells: int, tmp_path: Path) -> None:
    patch = _trained(8, shape=shape, cells=cells)
    assert patch.shape == (1, 5, 5)
    assert 0 <= patch.min() <= patch.max() <= 1
    made = _attack(patch, tmp_path, shape=shape, target=8)
    grey = _attack(torch.full((1, 5, 5), 0.5), tmp_path, shape=shape, target=8)
    assert made.successes > max(5, 2 * grey.successes)
    assert (made.targets == 8).all()
    assert (made.predicted[made.succeeded] == 8).all()
    assert not made.succeeded[made.labels == 8].any()


def test_another_target_or_seed_is_another_patch_and_the_same_is_the_same() -> None:
    first, again, seed, target = _trained(8), _trained(8), _trained(8, seed=1), _trained(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, seed)
    assert not torch.equal(first, target)


def test_a_smooth_patch_has_a_fraction_of_the_energy_of_a_sharp_one() -> None:
    def energy(patch: torch.Tensor) -> float:
        return float(patch.diff(dim=1).square().sum() + patch.diff(dim=2).square().sum())

    sharp, smooth = _trained(8), _trained(8, cells=2)
    assert energy(smooth) < energy(sharp) / 4
    corners = smooth[:, ::4, ::4]  # of 2 × 2 colours nothing but these is free
    torch.testing.assert_close(smooth, spread(corners, 5))


def test_without_a_target_any_class_but_the_label_counts(tmp_path: Path) -> None:
    aimed, free = (_attack(_trained(8), tmp_path, target=target) for target in (8, -1))
    assert (free.targets == -1).all()
    assert torch.equal(free.succeeded, free.predicted != free.labels)
    assert free.successes > aimed.successes


def test_the_attack_patch_takes_a_target_of_its_own() -> None:
    data = digits_net.data()
    settings = {**TRAINED, "target": 8}
    made = attack(digits_net.model(), data.test_images[:40], data.test_labels[:40], "Patch", settings=settings)
    assert (made.targets == 8).all()
    assert (made.predicted[made.succeeded] == 8).all()
    with pytest.raises(OptionError, match="expected one of the 10 classes; got 10"):
        attack(
            digits_net.model(), data.test_images[:4], data.test_labels[:4], "Patch",
            settings={**TRAINED, "target": 10},
        )  # fmt: skip


def test_a_round_patch_is_a_disc_and_lies_inside_its_image() -> None:
    torch.manual_seed(0)
    images = torch.rand(200, 1, 9, 12) * 0.5
    centres, angles = draw_places(images, 5.0, 3.0, "round")
    made = paste(torch.full((1, 5, 5), 0.9), images, centres, angles, 5.0, "round")
    y, x = torch.meshgrid(torch.arange(9) + 0.5, torch.arange(12) + 0.5, indexing="ij")
    for row in range(len(images)):
        apart = ((x - centres[row, 0]) ** 2 + (y - centres[row, 1]) ** 2).sqrt()
        assert torch.equal(made[row, 0] != images[row, 0], apart <= 2.5)
        assert 2.5 - 1e-5 <= centres[row, 0] <= 9.5 + 1e-5
        assert 2.5 - 1e-5 <= centres[row, 1] <= 6.5 + 1e-5


def test_each_image_may_have_a_square_of_its_own() -> None:
    images = torch.zeros(3, 1, 4, 4)
    squares = torch.tensor([0.1, 0.2, 0.3])[:, None, None, None].expand(3, 1, 2, 2)
    centres, angles = torch.full((3, 2), 2.0), torch.zeros(3)
    made = paste(squares, images, centres, angles, 2.0)
    torch.testing.assert_close(made.flatten(1).sum(1), torch.tensor([0.4, 0.8, 1.2]))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 5), np.float32), r"square patch \[1, P, P\], or with a 1 before it; got float32 \[5, 5\]"),
        (np.zeros((3, 5, 5), np.float32), r"got float32 \[3, 5, 5\]"),
        (np.zeros((1, 5, 4), np.float32), r"got float32 \[1, 5, 4\]"),
        (np.zeros((1, 5, 5), np.uint8), "got uint8"),
        (np.full((1, 5, 5), 200.0), r"in \[0, 1\]; got 200 to 200. Divide"),
        (np.full((1, 5, 5), np.nan), r"in \[0, 1\]; got nan"),
    ],
)
def test_an_array_that_is_no_patch_is_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", array)
    data = digits_net.data()
    with pytest.raises(InputError, match=message):
        attack(
            digits_net.model(), data.test_images[:4], data.test_labels[:4], "PatchFile",
            settings={"file": tmp_path / "bad.npy", "scale": 0.5},
        )  # fmt: skip


def test_a_wrong_target_too_many_cells_and_a_missing_file_say_so(tmp_path: Path) -> None:
    data = digits_net.data()
    with pytest.raises(OptionError, match="expected a target among the 10 classes; got 10"):
        _trained(10)
    with pytest.raises(OptionError, match="expected cells of at most the 5 pixels of a side; got 6"):
        _trained(1, cells=6)
    with pytest.raises(StoreError, match="cannot read"):
        attack(
            digits_net.model(), data.test_images[:4], data.test_labels[:4], "PatchFile",
            settings={"file": tmp_path / "none.npy"},
        )  # fmt: skip


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("L", 3)])
def test_a_picture_is_pasted_as_the_array_of_its_pixels(mode: str, channels: int, tmp_path: Path) -> None:
    picture = Image.effect_noise((5, 5), 80).convert(mode)
    picture.save(tmp_path / "patch.png")
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"), np.float32) / 255
    np.save(tmp_path / "patch.npy", pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 64, 4)).eval()
    images = torch.rand(6, channels, 8, 8)
    png, array = (
        attack(
            model, images, model(images).argmax(1), "PatchFile", settings={"file": tmp_path / name, "scale": 0.6}
        )
        for name in ("patch.png", "patch.npy")
    )
    assert torch.equal(png.images, array.images)


def test_a_broken_picture_says_so(tmp_path: Path) -> None:
    (tmp_path / "patch.png").write_bytes(b"none")
    data = digits_net.data()
    with pytest.raises(StoreError, match=r"patch\.png is not a picture"):
        attack(
            digits_net.model(), data.test_images[:4], data.test_labels[:4], "PatchFile",
            settings={"file": tmp_path / "patch.png", "scale": 0.5},
        )  # fmt: skip
