"""Data sets and the IDX reader."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from effpath.data import SCHEMES, Dataset, load_data, read_idx
from effpath.errors import InputError, StoreError


def _idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def _files() -> dict[str, bytes]:
    """A tiny MNIST: 5 training and 3 test images of 4×6 pixels."""
    rng = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 5), ("t10k", 3)):
        files[f"{part}-images-idx3-ubyte"] = _idx(rng.integers(0, 256, (count, 4, 6), dtype=np.uint8))
        files[f"{part}-labels-idx1-ubyte"] = _idx(rng.integers(0, 10, count, dtype=np.uint8))
    return files


def _put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _assert_sound(data: Dataset) -> None:
    halves = ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    for images, labels in halves:
        assert images.dtype == torch.float32
        assert images.ndim == 4
        assert labels.dtype == torch.int64
        assert labels.shape == (len(images),)
        assert 0 <= images.min() <= images.max() <= 1
        assert 0 <= labels.min() <= labels.max() < len(data.classes)


def test_digits_are_split_60_to_40_with_every_class_in_proportion() -> None:
    data = load_data("digits")
    _assert_sound(data)
    assert data.train_images.shape == (1078, 1, 8, 8)
    assert data.test_images.shape == (719, 1, 8, 8)
    assert data.train_images.max() == 1
    whole = torch.bincount(data.train_labels) + torch.bincount(data.test_labels)
    assert (torch.bincount(data.train_labels) - 0.6 * whole).abs().max() < 1


def test_no_digit_is_in_both_parts_and_none_is_lost() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", seed=5)
    mine = torch.cat([data.train_images, data.test_images]).flatten(1) * 16
    theirs = load_digits().data
    assert sorted(map(tuple, mine.tolist())) == sorted(map(tuple, theirs.tolist()))


def test_the_seed_decides_the_split_of_digits() -> None:
    first, again, other = (
        load_data("digits", seed=1),
        load_data("digits", seed=1),
        load_data("digits", seed=2),
    )
    assert torch.equal(first.train_images, again.train_images)
    assert not torch.equal(first.train_labels, other.train_labels)


def test_digits_28_are_the_same_digits_larger() -> None:
    small, large = load_data("digits"), load_data("digits:28")
    _assert_sound(large)
    assert large.name == "digits:28"
    assert large.test_images.shape == (719, 1, 28, 28)
    assert torch.equal(small.test_labels, large.test_labels)
    torch.testing.assert_close(
        small.test_images.mean((1, 2, 3)), large.test_images.mean((1, 2, 3)), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("spec", ["digits:", "digits:x", "digits:3", "digits:-8", "digits:²"])
def test_a_wrong_side_of_digits_is_refused(spec: str) -> None:
    if spec == "digits:":
        assert load_data(spec).name == "digits"
        return
    with pytest.raises(InputError, match="at least 4 pixels"):
        load_data(spec)


@pytest.mark.parametrize("spec", ["", "cifar", "Digits", ":x"])
def test_an_unknown_data_set_is_refused_with_the_known_ones(spec: str) -> None:
    with pytest.raises(InputError, match="digits, mnist"):
        load_data(spec)


def test_a_new_scheme_is_one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_data("digits")
    monkeypatch.setitem(SCHEMES, "mine", lambda argument, seed: digits if (argument, seed) == ("a:b", 7) else None)
    assert load_data("mine:a:b", seed=7) is digits


@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_found_in_each_usual_place_plain_or_packed(tmp_path: Path, place: str, packed: bool) -> None:
    files = _files()
    stored = {f"{name}.gz": gzip.compress(content) for name, content in files.items()} if packed else files
    _put(tmp_path / place, stored)
    data = load_data(f"mnist:{tmp_path}")
    _assert_sound(data)
    assert data.train_images.shape == (5, 1, 4, 6)
    assert data.test_images.shape == (3, 1, 4, 6)
    raw = np.frombuffer(files["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(3, 1, 4, 6)
    np.testing.assert_allclose(data.test_images.numpy() * 255, raw, rtol=1e-6)
    assert data.train_labels.tolist() == list(files["train-labels-idx1-ubyte"][8:])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_data(f"mnist:{tmp_path / 'nowhere'}")
    with pytest.raises(InputError, match="got no folder"):
        load_data("mnist")


def test_a_missing_file_is_named_with_the_places_looked_at(tmp_path: Path) -> None:
    files = _files()
    del files["t10k-labels-idx1-ubyte"]
    _put(tmp_path, files)
    with pytest.raises(StoreError, match=r"t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz") as caught:
        load_data(f"mnist:{tmp_path}")
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value)


def test_different_numbers_of_images_and_labels_are_refused(tmp_path: Path) -> None:
    _put(tmp_path, {**_files(), "train-labels-idx1-ubyte": _idx(np.zeros(4, np.uint8))})
    with pytest.raises(StoreError, match=r"5 images .* 4 labels"):
        load_data(f"mnist:{tmp_path}")


def test_labels_above_nine_are_refused(tmp_path: Path) -> None:
    _put(tmp_path, {**_files(), "t10k-labels-idx1-ubyte": _idx(np.array([1, 2, 10], np.uint8))})
    with pytest.raises(StoreError, match="up to 10"):
        load_data(f"mnist:{tmp_path}")


IMAGES = _idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\x00\x00\x08\x01" + IMAGES[4:], "wanted the magic number 00000803, got 00000801"),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], "got 00000d03"),
        (b"<html>not found</html>", "not an IDX file"),
        (IMAGES[:3], "got 000008"),
        (IMAGES[:10], "header of 16 bytes, got 10"),
        (IMAGES[:-1], r"\[2, 3, 4\], 24 bytes; it has 23"),
        (IMAGES + b"x", "it has 25"),
        (IMAGES[:4] + b"\xff" * 12 + IMAGES[16:], "it has 24"),
    ],
)
def test_a_damaged_idx_file_is_refused_with_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    for name, stored in (("x", content), ("x.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(stored)
        with pytest.raises(StoreError, match=message):
            read_idx(tmp_path / name, dimensions=3)


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(IMAGES)
    for stored in (
        packed[: len(packed) // 2],
        b"not gzip",
        packed[:-6] + b"\x00" * 6,
        packed[:12] + b"\xff" * 9,
    ):
        (tmp_path / "x.gz").write_bytes(stored)
        with pytest.raises(StoreError, match=r"x\.gz"):
            read_idx(tmp_path / "x.gz", dimensions=3)


def test_a_sound_idx_file_gives_its_array(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(IMAGES)
    np.testing.assert_array_equal(read_idx(tmp_path / "x", dimensions=3), np.arange(24).reshape(2, 3, 4))


@pytest.mark.skipif("EFFPATH_DATA" not in os.environ, reason="EFFPATH_DATA, a folder with mnist/, is not set")
def test_the_real_mnist_has_its_known_counts() -> None:
    data = load_data(f"mnist:{os.environ['EFFPATH_DATA']}/mnist")
    _assert_sound(data)
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert torch.bincount(data.test_labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
