"""Universal perturbations: read from a file, added to every image, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import digits_net
from effpath.attacks import AdversarialSet, attack
from effpath.errors import InputError, OptionError, StoreError


def _run(file: Path, **options: object) -> AdversarialSet:
    data = digits_net.data()
    images, labels = data.test_images[:40], data.test_labels[:40]
    settings = {"file": file}
    return attack(digits_net.model(), images, labels, "Universal", settings=settings, **options)  # type: ignore[arg-type]


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("kind", ["npy", "npz", "a leading 1", "float64"])
def test_the_perturbation_is_added_to_every_image_and_cut(kind: str, noise: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / f"noise.{'npz' if kind == 'npz' else 'npy'}"
    if kind == "npz":
        np.savez(file, perturbation=noise)
    else:
        np.save(file, noise[None] if kind == "a leading 1" else noise.astype("f8" if kind == "float64" else "f4"))
    made = _run(file)
    clean = digits_net.data().test_images[:40][made.source]
    expected = (clean + torch.from_numpy(noise)).clamp(0, 1)
    with torch.no_grad():
        fooled = digits_net.model()(expected).argmax(1) != made.labels
    assert torch.equal(made.succeeded, fooled)
    assert 0 < made.successes < made.tried
    assert torch.equal(made.images[fooled], expected[fooled])
    assert torch.equal(made.images[~fooled], clean[~fooled])
    assert made.settings == {"file": str(file)}


def test_the_content_of_the_file_is_part_of_the_cached_result(noise: np.ndarray, tmp_path: Path) -> None:
    file, cache = tmp_path / "noise.npy", tmp_path / "cache"
    np.save(file, noise)
    first = _run(file, cache=cache)
    again = _run(file, cache=cache, batch_size=256)
    assert torch.equal(first.images, again.images)
    assert len(list(cache.iterdir())) == 1
    np.save(file, -noise)
    other = _run(file, cache=cache)
    assert not torch.equal(first.images, other.images)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8), np.float32), r"images' shape \[1, 8, 8\], or with a 1 before it; got float32 \[8, 8\]"),
        (np.zeros((3, 8, 8), np.float32), r"got float32 \[3, 8, 8\]"),
        (np.zeros((2, 1, 8, 8), np.float32), r"got float32 \[2, 1, 8, 8\]"),
        (np.zeros((1, 8, 8), np.uint8), r"got uint8"),
        (np.full((1, 8, 8), 10.0), r"within ±1, as images lie in \[0, 1\]; got up to 10. Divide"),
        (np.full((1, 8, 8), np.nan), r"within ±1.*got up to nan"),
    ],
)
def test_a_perturbation_that_does_not_fit_is_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", array)
    with pytest.raises(InputError, match=message):
        _run(tmp_path / "bad.npy")


def test_an_npz_of_two_arrays_is_refused(noise: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=noise, b=noise)
    with pytest.raises(InputError, match="expected one array; got 2"):
        _run(tmp_path / "two.npz")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04broken", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(content)
    with pytest.raises(StoreError, match=r"bad\.npy is not an \.npy or \.npz file"):
        _run(tmp_path / "bad.npy")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match=r"pickle\.npy"):
        _run(tmp_path / "pickle.npy")


def test_without_a_file_and_where_there_is_none_the_error_names_the_setting(tmp_path: Path) -> None:
    data = digits_net.data()
    with pytest.raises(OptionError, match="path of a file in its setting 'file'; got none"):
        attack(digits_net.model(), data.test_images[:4], data.test_labels[:4], "Universal")
    with pytest.raises(StoreError, match=r"cannot read .*missing\.npy \(setting file\)"):
        _run(tmp_path / "missing.npy")
