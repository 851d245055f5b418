"""Arrays in .npz files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from effpath.data import load_data
from effpath.errors import InputError, StoreError

IMAGES = np.random.default_rng(0).random((4, 1, 5, 5), dtype=np.float32)
LABELS = np.array([0, 2, 1, 0])


def test_train_and_test_arrays_are_two_parts(tmp_path):
    np.savez(
        tmp_path / "a.npz", train_images=IMAGES, train_labels=LABELS, test_images=IMAGES[:1],
        test_labels=LABELS[:1],        classes=["x", "y", "z", "w"],
    )  # fmt: skip
    data = load_data(f"npz:{tmp_path}/a.npz")
    assert data.name == "a"
    assert data.classes == ("x", "y", "z", "w")
    assert torch.equal(data.train_images, torch.from_numpy(IMAGES))
    assert data.test_labels.tolist() == [0]


def test_images_and_labels_are_one_part(tmp_path):
    np.savez(tmp_path / "a.npz", images=(IMAGES * 255).astype(np.uint8), labels=LABELS.astype(np.uint8))
    data = load_data(f"npz:{tmp_path}/a.npz")
    assert list(data.parts) == ["all"]
    assert data.part("all").images[:].max() <= 1
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "it has pictures"),
        ({"images": IMAGES}, "it has images"),
        ({"images": IMAGES[:, 0], "labels": LABELS}, r"expected float or uint8 images \[N, C, H, W\]"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "label, 0 or more, for each of 4 images"),
        ({"images": IMAGES, "labels": LABELS - 1}, "label, 0 or more"),
        ({"images": IMAGES, "labels": LABELS * 1.0}, "integer label"),
        ({"images": IMAGES, "labels": LABELS * 1.7}, "integer label"),
        ({"images": IMAGES, "labels": LABELS * 10**12}, "one integer label"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "for each of 0 images"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["a"]}, "names 1 classes, but has labels up to 2"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_data(f"npz:{tmp_path}/a.npz")


def test_a_missing_damaged_or_pickled_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no file"):
        load_data("npz:nowhere.npz")
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    np.savez(tmp_path / "b.npz", images=IMAGES, labels=np.array([None] * 4))
    np.save(tmp_path / "c.npy", IMAGES)
    for name in ("a.npz", "b.npz", "c.npy"):
        with pytest.raises(StoreError, match=name):
            load_data(f"npz:{tmp_path}/{name}")
