"""Folders of pictures."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

from effpath.data import align_labels, load_data
from effpath.errors import InputError, StoreError
from effpath.images import PictureFormat, read_picture

SMALL = PictureFormat(3, 4, 4)


def put(folder, value):
    """A picture of one colour, that tells which one was read."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(folder)


def values(part):
    return [round(float(image.mean()) * 255) for image in part.images[:]]


def test_parts_classes_and_order_follow_the_names_of_the_folders(tmp_path):
    for i, name in enumerate(["train/dog/b.png", "train/cat/10.png", "train/cat/9.png", "train/dog/a/deep.png"]):
        put(tmp_path / name, i)
    put(tmp_path / "valid/dog/x.png", 50)
    (tmp_path / "train/cat/notes.txt").write_text("no picture")
    (tmp_path / "train/.hidden").mkdir()
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert data.name == tmp_path.name
    assert data.classes == ("cat", "dog")
    assert list(data.parts) == ["train", "val"]
    assert values(data.part("train")) == [1, 2, 3, 0]
    assert data.train_labels.tolist() == [0, 0, 1, 1]
    assert list(data.part("train").names) == [
        "train/cat/10.png", "train/cat/9.png", "train/dog/a/deep.png", "train/dog/b.png",
    ]  # fmt: skip
    assert values(data.part("test", "val")) == [50]
    assert data.test_labels.tolist() == [1]


def test_the_order_is_that_of_torchvisions_image_folder(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    for i, name in enumerate(["b/2.png", "b/10.png", "a/x.jpg", "C/y.png", "a b/z.png", "b/1.bmp"]):
        put(tmp_path / name, i)
    theirs = torchvision.datasets.ImageFolder(tmp_path)
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert list(data.classes) == theirs.classes
    part = data.part("all")
    assert [(str(tmp_path / name), int(label)) for name, label in zip(part.names, part.labels, strict=True)] == [
        (file, label) for file, label in theirs.samples
    ]


def test_labels_agree_between_parts_that_lack_a_class(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "train/c/1.png", "val/c/1.png"):
        put(tmp_path / name, 7)
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert data.part("val").labels.tolist() == [2]


def test_a_folder_of_classes_is_one_part(tmp_path):
    put(tmp_path / "a/1.png", 1)
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert list(data.parts) == ["all"]
    with pytest.raises(InputError, match=r"'train' of .*; it has all"):
        data.part("train")


def test_a_table_gives_the_labels_of_a_flat_folder(tmp_path):
    put(tmp_path / "images/b.png", 1)
    put(tmp_path / "a.png", 2)
    (tmp_path / "labels.csv").write_text("file,label,name\nb.png,3,cat\na.png,0,dog\n")
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert values(data.part("all")) == [1, 2]
    assert data.part("all").labels.tolist() == [3, 0]
    assert data.classes == ("0", "1", "2", "3")
    for line, message in (("c.png,1,x", "no file"), ("a.png,dog,x", "columns file and label"), ("a.png", "label")):
        (tmp_path / "labels.csv").write_text(f"file,label,name\nb.png,3,cat\n{line}\n")
        with pytest.raises(StoreError, match=f"line 3: .*{message}"):
            load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)


def test_damaged_pictures_are_named_and_can_be_left_out_with_their_labels(tmp_path):
    for i, name in enumerate(["a/1.png", "a/2.png", "b/1.png"]):
        put(tmp_path / name, i)
    (tmp_path / "a/2.png").write_bytes(b"\x89PNG broken")
    part = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL).part("all")
    with pytest.raises(InputError, match=r"a/2\.png"):
        part.images[:]
    whole, broken = part.readable()
    assert list(broken) == ["a/2.png"]
    assert values(whole) == [0, 2]
    assert whole.labels.tolist() == [0, 1]
    assert list(whole.names) == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize(("room", "times"), [(2 * 3 * 4 * 4 * 4, 1), (2 * 3 * 4 * 4 * 4 - 1, 2)])
def test_few_pictures_that_were_looked_through_are_not_read_again(tmp_path, monkeypatch, room, times):
    for i in range(3):
        put(tmp_path / f"a/{i}.png", i)
    (tmp_path / "a/1.png").write_bytes(b"\x89PNG broken")
    opened = []
    monkeypatch.setattr(
        "effpath.images.lazy.read_picture",
        lambda file, wanted: opened.append(file.name) or read_picture(file, wanted),
    )
    monkeypatch.setattr("effpath.data.dataset.KEPT_BYTES", room)
    whole, _ = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL).part("all").readable()
    assert opened == ["0.png", "1.png", "2.png"]
    assert values(whole) == [0, 2]
    assert opened.count("2.png") == times


def test_some_images_of_each_class_can_be_taken_without_reading_any(tmp_path, monkeypatch):
    for i in range(3):
        put(tmp_path / f"a/{i}.png", i)
        put(tmp_path / f"b/{i}.png", 10 + i)
    monkeypatch.setattr("effpath.images.lazy.read_picture", None)
    part = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL).part("all").first_of_each_class(2)
    part = part.take(torch.tensor([3, 0]))
    monkeypatch.undo()
    assert values(part) == [11, 0]
    assert part.labels.tolist() == [1, 0]
    assert part.images[torch.tensor([1])].shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("imagefolder:nowhere", "no folder 'nowhere'"),
        ("imagefolder:", "no folder ''"),
        ("imagefolder", "no folder"),
    ],
)
def test_a_missing_folder_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        load_data(spec, picture_format=SMALL)


def test_an_empty_folder_and_an_unknown_size_are_refused(tmp_path):
    (tmp_path / "train/a").mkdir(parents=True)
    with pytest.raises(InputError, match="no pictures in folders of classes"):
        load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    with pytest.raises(InputError, match="give --input-size"):
        load_data(f"imagefolder:{tmp_path}")


@pytest.mark.skipif("EFFPATH_DATA" not in os.environ, reason="EFFPATH_DATA is not set")
def test_the_real_imagenette_and_imagenet_have_their_known_counts():
    wanted = PictureFormat(3, 224, 224, 256)
    imagenette = load_data(f"imagefolder:{os.environ['EFFPATH_DATA']}/imagenette", picture_format=wanted)
    assert torch.bincount(imagenette.train_labels).tolist() == [200] * 10
    assert torch.bincount(imagenette.test_labels).tolist() == [50] * 10
    imagenet = load_data(f"imagefolder:{os.environ['EFFPATH_DATA']}/imagenet_val", picture_format=wanted)
    assert len(imagenet.part("all")) == 400
    assert imagenet.part("all").labels[0] == 472


def test_only_the_folders_of_two_digits_have_the_labels_of_these_digits(tmp_path):
    for name in ("8/a.png", "3/b.png", "3/c.png"):
        put(tmp_path / name, 1)
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert align_labels(data.classes, 10)[data.part("all").labels].tolist() == [3, 3, 8]


@pytest.mark.parametrize("name", ["train", "test", "val", "Train"])
def test_a_class_called_like_a_part_is_a_class_beside_others(tmp_path, name):
    for file in ("cat/1.png", f"{name}/1.png", "dog/1.png"):
        put(tmp_path / file, 1)
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert data.classes == tuple(sorted(["cat", "dog", name]))
    assert len(data.part("all")) == 3
    assert not data.left_out


def test_parts_are_found_whatever_their_case_and_two_folders_for_one_are_refused(tmp_path):
    for file in ("Train/a/1.png", "TEST/a/1.png"):
        put(tmp_path / file, 1)
    assert list(load_data(f"imagefolder:{tmp_path}", picture_format=SMALL).parts) == ["train", "test"]
    for file in ("val/a/1.png", "valid/a/1.png"):
        put(tmp_path / file, 1)
    with pytest.raises(InputError, match=r"one folder for the part 'val' .*got val and valid"):
        load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)


def test_files_that_belong_to_no_class_are_named(tmp_path):
    for file in ("train/a/1.png", "train/loose.png", "unlabelled/1.png", "top.png", "train/a/@eaDir/x.png"):
        put(tmp_path / file, 1)
    (tmp_path / "train/a/notes.txt").write_text("no picture")
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    assert list(data.left_out) == ["top.png", "train/a/notes.txt", "train/loose.png", "unlabelled/1.png"]
    assert data.relabelled(torch.tensor([0]), ("x",)).left_out == data.left_out


def test_a_folder_with_a_training_part_alone_says_what_to_do(tmp_path):
    put(tmp_path / "train/a/1.png", 1)
    data = load_data(f"imagefolder:{tmp_path}", picture_format=SMALL)
    with pytest.raises(
        InputError, match=r"'test' or 'val' .*it has train: give it .*a folder test with one of each"
    ):
        data.part("test", "val")
