"""MNIST and the IDX reader."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from effpath.data import Dataset, load_data
from effpath.data.digits import read_idx
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
        (b"\x00\x00\x08\x01" + IMAGES[4:], "expected the magic number 00000803, got 00000801"),
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
