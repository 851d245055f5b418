"""CIFAR: the original pickled batches, read without running code, and sheets of tiles."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from effpath.data import load_data
from effpath.errors import InputError, StoreError
from effpath.images import PictureFormat

NAMES = ["airplane", "automobile", "bird"]


def batch(count, seed):
    rng = np.random.default_rng(seed)
    return {
        "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
        "labels": rng.integers(0, 3, count).tolist(),
    }


@pytest.fixture
def cifar10(tmp_path):
    """A tiny CIFAR-10 of three classes, in the files of the original; returns its folder and batches."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    batches = {f"data_batch_{i}": batch(i, i) for i in range(1, 6)} | {"test_batch": batch(4, 9)}
    for name, held in {**batches, "batches.meta": {"label_names": NAMES}}.items():
        (folder / name).write_bytes(pickle.dumps(held, protocol=2))
    return tmp_path, batches


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_batches_of_every_pickle_protocol_and_both_names_of_numpys_core_are_read(cifar10, protocol, package):
    folder, batches = cifar10
    own = np.ones(1).__reduce__()[0].__module__.rpartition(".")[0]
    for name, held in batches.items():
        content = pickle.dumps(held, protocol=protocol)
        if protocol < 4:  # names with their lengths before them are not replaced
            content = content.replace(own.encode(), package.encode())
        (folder / "cifar-10-batches-py" / name).write_bytes(content)
    data = load_data(f"cifar10:{folder}")
    raw = batches["test_batch"]["data"].reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal((data.test_images * 255).round().numpy().astype(np.uint8), raw)


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
def test_cifar10_is_read_from_its_folder_or_the_one_around_it(cifar10, inside):
    folder, batches = cifar10
    data = load_data(f"cifar10:{folder / inside}")
    assert data.classes == tuple(NAMES)
    raw = np.concatenate([batches[f"data_batch_{i}"]["data"] for i in range(1, 6)]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal((data.train_images * 255).round().numpy().astype(np.uint8), raw)
    assert data.train_labels.tolist() == [
        label for i in range(1, 6) for label in batches[f"data_batch_{i}"]["labels"]
    ]
    assert data.test_images.shape == (4, 3, 32, 32)


def test_cifar10_agrees_with_torchvisions_reader(cifar10, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    folder, _ = cifar10
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_load_meta", lambda self: None)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *given: True)
    theirs = torchvision.datasets.CIFAR10(folder, train=True)
    ours = load_data(f"cifar10:{folder}").part("train")
    np.testing.assert_array_equal((ours.images[:] * 255).round().permute(0, 2, 3, 1).numpy(), theirs.data)
    assert ours.labels.tolist() == theirs.targets


def test_cifar100_is_read_with_its_fine_labels(tmp_path):
    for name, count in (("train", 5), ("test", 2)):
        held = {"data": batch(count, 0)["data"], "fine_labels": list(range(count)), "coarse_labels": [0] * count}
        (tmp_path / name).write_bytes(pickle.dumps(held))
    (tmp_path / "meta").write_bytes(
        pickle.dumps({"fine_label_names": list("abcdef"), "coarse_label_names": ["x"]})
    )
    data = load_data(f"cifar100:{tmp_path}")
    assert data.classes == tuple("abcdef")
    assert data.train_labels.tolist() == [0, 1, 2, 3, 4]


class Evil:
    ran = False

    def __reduce__(self):
        return exec, (f"import {__name__} as m; m.Evil.ran = True",)


def test_a_batch_with_code_in_it_is_refused_and_the_code_does_not_run(cifar10):
    folder, _ = cifar10
    (folder / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps({"data": Evil(), "labels": []}))
    with pytest.raises(StoreError, match=r"test_batch: UnpicklingError: it refers to builtins\.exec"):
        load_data(f"cifar10:{folder}")
    assert not Evil.ran


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (b"", "EOFError"),
        (pickle.dumps([1]), "expected a dictionary with data, labels"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}), "expected a dictionary with data, labels"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), r"\(2, 3072\) with 1 labels"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [0, 1]}), "got float64"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 3]}), r"labels 0 … 2"),
        (pickle.dumps({"data": [1, 2], "labels": [0, 1]}), "got list"),
    ],
)
def test_a_damaged_batch_is_refused_by_name(cifar10, held, message):
    folder, _ = cifar10
    (folder / "cifar-10-batches-py/data_batch_3").write_bytes(held)
    with pytest.raises(StoreError, match=f"data_batch_3.*{message}"):
        load_data(f"cifar10:{folder}")


def test_missing_files_and_folders_are_named(cifar10, tmp_path):
    folder, _ = cifar10
    with pytest.raises(InputError, match="no folder 'nowhere'"):
        load_data("cifar10:nowhere")
    with pytest.raises(StoreError, match="no file test in"):
        load_data(f"cifar100:{tmp_path}")
    (folder / "cifar-10-batches-py/data_batch_2").unlink()
    with pytest.raises(StoreError, match="data_batch_2"):
        load_data(f"cifar10:{folder}")


def test_a_sheet_of_tiles_is_cut_row_by_row(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"fine": ["cat", "dog"]}))
    tiles = np.random.default_rng(0).integers(0, 256, (2, 2, 6, 32, 32, 3), dtype=np.uint8)
    for p, part in enumerate(("train", "test")):
        (tmp_path / part).mkdir()
        for label, name in enumerate(("cat", "dog")):
            rows = [np.concatenate(tiles[p, label, r * 3 : r * 3 + 3], axis=1) for r in range(2)]
            sheet = Image.fromarray(np.concatenate(rows))
            sheet.save(tmp_path / part / f"{label:02d}_{name}.webp", lossless=True)
    data = load_data(f"cifar10:{tmp_path}")
    np.testing.assert_array_equal(
        (data.test_images * 255).round().numpy().astype(np.uint8),
        tiles[1].reshape(12, 32, 32, 3).transpose(0, 3, 1, 2),
    )
    assert data.test_labels.tolist() == [0] * 6 + [1] * 6
    Image.new("RGB", (33, 32)).save(tmp_path / "test/01_dog.webp", lossless=True)
    with pytest.raises(StoreError, match="01_dog"):
        load_data(f"cifar10:{tmp_path}")


def test_images_are_brought_to_the_size_of_the_network_only_when_indexed(cifar10, monkeypatch):
    folder, _ = cifar10
    data = load_data(f"cifar10:{folder}", picture_format=PictureFormat(3, 64, 64))
    part = data.part("train")
    with monkeypatch.context() as patched:
        patched.setattr("effpath.images.lazy.resize_to", lambda images, *_: images)
        assert part.images[:].shape == (15, 3, 32, 32)  # what is kept
    assert part.images[:2].shape == (2, 3, 64, 64)
    assert data.test_images.shape == (4, 3, 64, 64)
    assert part.take(torch.tensor([1])).images[:].shape == (1, 3, 64, 64)
    with pytest.raises(InputError, match="expected images of 1 channels"):
        load_data(f"cifar10:{folder}", picture_format=PictureFormat(1, 28, 28))


@pytest.mark.skipif("EFFPATH_DATA" not in os.environ, reason="EFFPATH_DATA is not set")
@pytest.mark.parametrize(("name", "train", "test"), [("cifar10", 1000, 1000), ("cifar100", 250, 50)])
def test_the_real_cifar_sheets_have_their_known_counts(name, train, test):
    data = load_data(f"{name}:{os.environ['EFFPATH_DATA']}/{name}")
    assert set(torch.bincount(data.train_labels).tolist()) == {train}
    assert set(torch.bincount(data.test_labels).tolist()) == {test}
