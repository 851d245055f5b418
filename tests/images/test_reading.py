"""Images that are read when indexed: range, damage, memory."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from effpath.data import load_data
from effpath.errors import InputError
from effpath.images import (
    PictureFormat,
    load_images,
    pixel_range_of,
    read_picture,
    refuse_known,
    resize_to,
    tolerant,
)
from effpath.images.lazy import checked
from effpath.models.library import PixelModel

NAMES = [f"a.npy[{i}]" for i in range(400)]


def images_with(value, row=350):
    images = torch.full((400, 1, 2, 2), 0.5)
    images[row, 0, 1, 0] = value
    return images


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (255.0, r"got 0.5 to 255 in a.npy\[350\]; divide 0 … 255 by 255"),
        (1.01, r"got 0.5 to 1.01 in a.npy\[350\]"),
        (-2.1, r"got -2.1 to 0.5 in a.npy\[350\]; leave preprocessing to the model, .*pixel_range = None"),
        (float("nan"), r"got NaN or infinity as 1 of the 4 values of a.npy\[350\]; find out"),
        (float("inf"), r"got NaN or infinity as 1 of the 4 values of a.npy\[350\]; find out"),
    ],
)
def test_a_value_that_is_no_pixel_is_refused_by_the_name_of_its_image(value, message):
    images = checked(images_with(value), NAMES, (0.0, 1.0))
    assert images[:350].shape == (350, 1, 2, 2)
    assert images[351:].shape == (49, 1, 2, 2)
    for read in (
        lambda: images[320:360],
        lambda: images[torch.tensor([3, 350])],
        lambda: images[torch.arange(400) > 340],
        lambda: refuse_known(images),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read()
        assert ("255" in str(caught.value)) == (value > 1 and value < 300)  # no advice that does not help


def test_images_in_the_range_are_taken_as_they_are():
    for value in (0.0, 1.0, 1 + 1e-7, -1e-7):
        images = images_with(value)
        assert checked(images, NAMES, (0.0, 1.0)) is images
    empty = torch.zeros(0, 1, 2, 2)
    assert checked(empty, [], (0.0, 1.0)) is empty


def test_a_model_says_that_it_takes_other_numbers_and_nan_is_refused_all_the_same():
    model = torch.nn.Identity()
    assert pixel_range_of(model) == (0, 1)
    model.pixel_range = None
    images = images_with(-7.0)
    assert checked(images, NAMES, pixel_range_of(model)) is images
    with pytest.raises(InputError, match="NaN or infinity"):
        refuse_known(checked(images_with(float("nan")), NAMES, None))
    for other in ((0, 255), "pixels", 3):
        model.pixel_range = other
        with pytest.raises(InputError, match=r"expected the model's pixel_range to be \(0, 1\), or None"):
            pixel_range_of(model)
    assert pixel_range_of(PixelModel(torch.nn.Identity(), torch.nn.Identity(), PictureFormat(1, 2, 2), ())) == (
        0,
        1,
    )


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("wanted", [None, PictureFormat(3, 2, 2), PictureFormat(1, 4, 4)])
def test_arrays_are_checked_wherever_they_are_loaded_before_they_are_scaled(tmp_path, ending, wanted):
    file = tmp_path / f"a.{ending}"
    array = images_with(1.5).numpy()
    np.save(file, array) if ending == "npy" else np.savez(file, images=array, labels=np.zeros(400, int))
    opened = [load_images([file], wanted)[0], load_images([file, file], wanted)[0]]
    if ending == "npz":
        opened.append(load_data(f"npz:{file}", picture_format=wanted).part("all").images)
    for images in opened:
        for read in (lambda images: images[349:352], refuse_known):
            with pytest.raises(InputError, match=r"got 0\.5 to 1\.5 in .*\[350\]"):
                read(images)
    assert load_images([file], wanted, pixel_range=None)[0][350:351].max() > 1


def test_an_array_without_images_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 1, 2, 2), np.float32))
    for wanted, message in ((None, "at least one image"), (PictureFormat(1, 4, 4), r"got none in .*a\.npy")):
        with pytest.raises(InputError, match=message):
            load_images([tmp_path / "a.npy"], wanted)


def test_uint8_images_are_pixels(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 1, 2, 2), 255, np.uint8))
    assert load_images([tmp_path / "a.npy"])[0][:].max() == 1


def test_one_damaged_image_does_not_cost_the_others(tmp_path):
    for i in range(6):
        Image.new("L", (4, 4), 10 * i).save(tmp_path / f"{i}.png")
    for i in (0, 3):
        (tmp_path / f"{i}.png").write_bytes(b"\x89PNG broken")
    np.save(
        tmp_path / "z.npy",
        np.array([0.25, np.nan, 0.75], np.float32).reshape(3, 1, 1, 1).repeat(4, 2).repeat(4, 3),
    )
    files = [*sorted(tmp_path.glob("*.png")), tmp_path / "z.npy"]
    images, names = load_images(files, PictureFormat(1, 4, 4))
    images, damaged = tolerant(images)
    read = torch.cat([images[start : start + 2] for start in range(0, len(images), 2)])
    assert [round(float(v) * 255) for v in read.mean((1, 2, 3))] == [0, 10, 20, 0, 40, 50, 64, 0, 191]
    assert list(damaged) == [0, 3, 7]
    assert all(names[row] in why for row, why in damaged.items())
    assert torch.equal(images[torch.tensor([7, 1])][1], read[1])
    with pytest.raises(InputError, match=r"none of 1 images can be read: .*0\.png"):
        tolerant(load_images(files[:1], PictureFormat(1, 4, 4))[0])[0][:1]


@pytest.mark.parametrize("count", [100, 1000])
def test_many_pictures_are_not_in_memory_together(tmp_path, monkeypatch, count):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "a.png")
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def read(*given):
        nonlocal most
        image = read_picture(*given)
        alive.add(image)
        most = max(most, len(alive))
        return image

    monkeypatch.setattr("effpath.images.lazy.read_picture", read)
    images, _ = tolerant(load_images([tmp_path / "a.png"] * count, PictureFormat(3, 8, 8))[0])
    assert not most
    for start in range(0, count, 10):
        images[start : start + 10]
    assert most <= 20


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1)])
def test_a_long_array_is_scaled_without_work_that_grows_with_its_length(shape):
    images = torch.full((1, 1, *shape), 0.25)
    assert torch.equal(resize_to(images, PictureFormat(3, 32, 32), "here"), torch.full((1, 3, 32, 32), 0.25))
