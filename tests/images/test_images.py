"""Pictures and arrays, brought to the size that a network takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from effpath.errors import InputError
from effpath.images import PictureFormat, as_pixels, load_images, pictures, read_picture, resize_to, tolerant


def save(path, rows, columns, mode="RGB", seed=0):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns, *channels), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(path)
    return pixels


def test_a_picture_of_the_right_size_is_read_pixel_by_pixel(tmp_path):
    pixels = save(tmp_path / "a.png", 6, 8)
    read = read_picture(tmp_path / "a.png", PictureFormat(3, 6, 8))
    np.testing.assert_array_equal(np.round(read.numpy() * 255).astype(int), pixels.transpose(2, 0, 1))


def test_the_centre_is_cut_out_by_hand(tmp_path):
    pixels = save(tmp_path / "a.png", 7, 10)
    read = read_picture(tmp_path / "a.png", PictureFormat(3, 4, 4, resize=7))
    np.testing.assert_array_equal(
        np.round(read.numpy() * 255).astype(int), pixels[2:6, 3:7].transpose(2, 0, 1)
    )  # (7 − 4) ÷ 2 = 1.5 rounds to 2, as torchvision's does


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("RGBA", 3), ("RGB", 1), ("RGBA", 1), ("L", 1)])
@pytest.mark.parametrize(("rows", "columns"), [(20, 30), (30, 20), (3, 40), (5, 5)])
@pytest.mark.parametrize("resize", [None, 9])
def test_every_picture_has_the_wanted_shape(tmp_path, mode, channels, rows, columns, resize):
    save(tmp_path / "a.png", rows, columns, mode)
    read = read_picture(tmp_path / "a.png", PictureFormat(channels, 8, 6, resize))
    assert read.shape == (channels, 8, 6)
    assert 0 <= read.min() <= read.max() <= 1


def test_pictures_are_read_only_when_indexed(tmp_path, monkeypatch):
    for i in range(5):
        save(tmp_path / f"{i}.png", 4, 4, seed=i)
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **how: opened.append(file.name) or real(file, **how))
    files = sorted(tmp_path.iterdir())
    found = pictures(files, PictureFormat(3, 4, 4))
    assert len(found) == 5
    assert not opened
    assert found[1:3].shape == (2, 3, 4, 4)
    assert opened == ["1.png", "2.png"]
    mask = torch.tensor([True, False, False, False, True])
    assert torch.equal(found[mask], found[torch.tensor([0, 4])])
    assert found[5:].shape == (0, 3, 4, 4)


def test_arrays_come_back_as_they_are_where_they_fit_or_no_format_is_known(tmp_path):
    floats = np.random.default_rng(0).random((2, 3, 5, 5), dtype=np.float32)
    np.save(tmp_path / "a.npy", floats)
    np.savez(tmp_path / "b.npz", images=(floats * 255).astype(np.uint8))
    for wanted in (None, PictureFormat(3, 5, 5)):
        images, names = load_images([tmp_path / "a.npy", tmp_path / "b.npz"], wanted)
        assert torch.equal(images[:2], torch.from_numpy(floats))
        assert torch.equal(images[torch.tensor([3, 0])], torch.stack([images[2:][1], images[:1][0]]))
        assert torch.equal(images[2:], torch.from_numpy((floats * 255).astype(np.uint8)).float() / 255)
        assert names == [
            f"{tmp_path}/a.npy[0]",
            f"{tmp_path}/a.npy[1]",
            f"{tmp_path}/b.npz[0]",
            f"{tmp_path}/b.npz[1]",
        ]


def test_grey_arrays_become_rgb_and_are_scaled_to_the_network():
    grey = torch.arange(16.0).reshape(1, 1, 4, 4) / 16
    rgb = resize_to(grey, PictureFormat(3, 4, 4), "here")
    assert torch.equal(rgb, grey.expand(1, 3, 4, 4))
    assert resize_to(grey, PictureFormat(3, 8, 8), "here").shape == (1, 3, 8, 8)
    constant = torch.full((1, 3, 6, 9), 0.25)
    torch.testing.assert_close(resize_to(constant, PictureFormat(3, 4, 4), "here"), torch.full((1, 3, 4, 4), 0.25))
    with pytest.raises(InputError, match=r"expected images of 1 channels.*got 3 in here"):
        resize_to(constant, PictureFormat(1, 6, 9), "here")


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.int8, bool, complex])
def test_arrays_of_other_numbers_are_refused(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.zeros((1, 3, 4, 4), dtype))
    with pytest.raises(InputError, match="expected float or uint8 images"):
        load_images([tmp_path / "a.npy"])


def test_a_damaged_picture_is_named_or_left_out_on_request(tmp_path):
    save(tmp_path / "a.png", 16, 16)
    whole = (tmp_path / "a.png").read_bytes()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "c.jpg")
    broken = {
        "b.png": whole[: len(whole) // 2],
        "d.png": b"",
        "e.jpg": (tmp_path / "c.jpg").read_bytes()[:-300],
        "f.gif": b"GIF8",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    wanted = PictureFormat(3, 4, 4)
    for name in broken:
        with pytest.raises(InputError, match=name):
            load_images([tmp_path / name], wanted)[0][:]
    images, names = load_images([tmp_path], wanted)
    images, damaged = tolerant(images)
    assert images[:].shape == (6, 3, 4, 4)
    assert [names[i] for i in damaged] == [f"{tmp_path}/{name}" for name in sorted(broken)]
    assert all(names[i] in why for i, why in damaged.items())
    with pytest.raises(InputError, match=r"none of 1 images can be read: .*b\.png"):
        tolerant(load_images([tmp_path / "b.png"], wanted)[0])[0][:]


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_may_come_last_and_the_pixels_stay_where_they_are(channels):
    first = np.random.default_rng(0).random((2, channels, 5, 4)).astype(np.float32)
    for array in (first, np.moveaxis(first, 1, 3)):
        pixels = as_pixels(array, "here")
        assert pixels.is_contiguous()
        assert np.array_equal(pixels.numpy(), first)


def test_three_rows_of_three_channels_are_taken_as_channels_first():
    array = np.random.default_rng(0).random((2, 3, 5, 3)).astype(np.float32)
    assert np.array_equal(as_pixels(array, "here").numpy(), array)


def test_labels_come_with_the_images_that_have_them(tmp_path):
    images = np.zeros((2, 1, 4, 4), np.float32)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "b.npz", images=images, labels=np.array([7, 3], np.uint8))
    labels: list[int] = []
    _, names = load_images([tmp_path / "a.npy", tmp_path / "b.npz"], labels=labels)
    assert labels == [-1, -1, 7, 3]
    assert len(names) == 4
    np.savez(tmp_path / "b.npz", images=images, labels=np.array([7.0, 3.0]))
    assert len(load_images([tmp_path / "b.npz"])[0]) == 2  # nobody asks for them
    with pytest.raises(InputError, match="one integer label for each of 2 images"):
        load_images([tmp_path / "b.npz"], labels=[])
