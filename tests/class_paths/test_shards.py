"""The work of other images is not taken for this one's, and no image counts twice."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import effpath
from digits_net import data, graph
from effpath import Description, StoreOptions
from effpath.class_paths.class_paths import digests_of
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.tasks import read_shard
from effpath.detect import path_features
from effpath.errors import InputError, OptionError, StoreError
from tiny_store import contents


def images(rows: slice):
    return data().train_images[rows], data().train_labels[rows]


NEURONS = StoreOptions(levels=("neurons",), allow_missing=True, shard_size=20, batch_size=20)


def build(rows: slice, options: StoreOptions = NEURONS, **others) -> effpath.ClassPaths:
    return effpath.build_class_paths(graph(), *images(rows), layers=2, options=options, **others)


def store(folder, rows: slice, options: StoreOptions = NEURONS, **others) -> effpath.ClassPaths:
    return effpath.build_store(folder, graph(), *images(rows), layers=2, options=options, **others)


@cache
def first() -> effpath.ClassPaths:
    return build(slice(0, 60))


def cut(folder, rows: slice, options: StoreOptions = NEURONS) -> None:
    """Leave an unfinished store of 40 images."""

    def die(done, total):
        if done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(folder, rows, options, progress=die)
    assert len(Store.open(folder).waiting()) == 2


@pytest.mark.parametrize("whole", [True, False], ids=["finished", "cut off"])
def test_a_store_of_other_rows_is_refused_by_name(tmp_path, whole) -> None:
    folder = tmp_path / "c"
    if whole:
        store(folder, slice(0, 60))
    else:
        cut(folder, slice(0, 80))
    before = contents(folder)
    with pytest.raises(StoreError, match=rf"the store {folder} belongs to another run: image \d+ .*delete it"):
        store(folder, slice(400, 500))
    with pytest.raises(
        StoreError, match=rf"{folder} belongs to another run: .* made from \d0 images, here are 20"
    ):
        store(folder, slice(0, 20))
    assert contents(folder) == before


def change_label(pixels, labels):
    labels[17] = (labels[17] + 1) % 10


def change_pixel(pixels, labels):
    pixels[17, 0, 3, 3] = 0.515


def exchange(pixels, labels):
    pixels[[17, 18]] = pixels[[18, 17]]
    labels[[17, 18]] = labels[[18, 17]]


@pytest.mark.parametrize("change", [change_label, change_pixel, exchange])
@pytest.mark.parametrize("counts", [True, False])
def test_one_other_pixel_or_label_among_the_images_done_is_noticed(tmp_path, change, counts) -> None:
    folder = tmp_path / "c"
    options = replace(NEURONS, counts=counts)
    store(folder, slice(0, 40), options)
    pixels, labels = (tensor.clone() for tensor in images(slice(0, 80)))
    change(pixels, labels)
    with pytest.raises(StoreError, match=r"image 1[78] had other pixels or another label"):
        effpath.build_store(folder, graph(), pixels, labels, layers=2, options=options)


def test_one_other_pixel_is_noticed_in_a_store_that_was_cut_off(tmp_path) -> None:
    cut(tmp_path / "c", slice(0, 80))
    rows = np.concatenate([record.rows for record in waiting(tmp_path / "c")])
    pixels, labels = (tensor.clone() for tensor in images(slice(0, 80)))
    pixels[rows[7], 0, 3, 3] = 0.515
    with pytest.raises(StoreError, match=f"image {rows[7]} had other pixels or another label"):
        effpath.build_store(tmp_path / "c", graph(), pixels, labels, layers=2, options=NEURONS)


def waiting(folder):
    """The records of the shards that are finished and wait."""
    opened = Store.open(folder)
    return [read_shard(opened.shard_file(shard), first()).record for shard in opened.waiting()]


def test_the_memory_layout_and_the_way_of_reading_do_not_matter(tmp_path) -> None:
    folder = tmp_path / "c"
    cut(folder, slice(0, 80))
    pixels, labels = images(slice(0, 80))
    options = replace(NEURONS, batch_size=7)
    other = pixels.double().to(memory_format=torch.channels_last)
    found = effpath.build_store(folder, graph(), other, labels.tolist(), layers=2, options=options)
    assert found == build(slice(0, 80))
    assert found.seen == 80


def test_a_store_of_other_options_is_refused_by_name(tmp_path) -> None:
    folder = tmp_path / "c"
    store(folder, slice(0, 60))
    for error, other in (
        (OptionError, {"theta": 0.9}),
        (StoreError, {"description": Description(data="other")}),
        (StoreError, {"options": replace(NEURONS, counts=False)}),
    ):
        with pytest.raises(error, match=rf"the store {folder} belongs to another run.*delete it"):
            store(folder, slice(0, 60), **other)


def test_a_file_in_the_place_of_a_store_is_refused(tmp_path) -> None:
    effpath.save_class_paths(replace(first(), shards=()), tmp_path / "c")
    with pytest.raises(StoreError, match=r"cannot write .*c: expected the folder of a store, got a file"):
        store(tmp_path / "c", slice(0, 60))


def test_the_same_shard_does_not_merge_twice() -> None:
    with pytest.raises(OptionError, match=r"60 of 60 images on both sides.*merge each shard once"):
        first() | first()
    other = build(slice(60, 90))
    both = first() | other
    for again in (first(), other, both, build(slice(80, 120))):
        with pytest.raises(OptionError, match="on both sides"):
            both | again
    assert both.seen == 90


def test_a_shard_that_was_saved_is_still_the_same(tmp_path) -> None:
    effpath.save_class_paths(first(), tmp_path / "a")
    opened = effpath.load_class_paths(tmp_path / "a", graph())
    with pytest.raises(OptionError, match="60 of 60 images on both sides"):
        opened | first()
    assert (opened | build(slice(60, 90))).seen == 90


def test_a_picture_that_stands_in_the_data_twice_is_two_images_where_rows_are_known() -> None:
    twice = torch.arange(40).repeat(2)
    pixels, labels = data().train_images[twice], data().train_labels[twice]

    def shard(rows: slice, origin: str = "", known: bool = True) -> effpath.ClassPaths:
        place = Description(origin=origin, rows=range(80)[rows]) if known else None
        return effpath.build_class_paths(
            graph(), pixels[rows], labels[rows], layers=2, options=NEURONS, description=place
        )

    halves = shard(slice(0, 40), "a"), shard(slice(40, 80), "a")
    assert (halves[0] | halves[1]).seen == 80
    for other in (
        shard(slice(39, 79), "a"),
        shard(slice(40, 80), "b"),
        shard(slice(40, 80), known=False),
        shard(slice(40, 80)),
    ):
        with pytest.raises(OptionError, match="on both sides"):
            halves[0] | other


def test_digests_tell_pixels_labels_and_order_apart() -> None:
    pixels = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = digests_of(pixels, torch.tensor([1, 1, 2]))
    assert len(set(found.tolist())) == 3
    np.testing.assert_array_equal(found[:1], digests_of(pixels[:1], torch.tensor([1])))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1.0, 1.7, 2.0], "one label for each of 3 images, got torch.float32; give whole numbers"),
        (torch.tensor([1.7, 1, 2]), "got torch.float32"),
        (["cat", "dog", "cat"], "got a list of str; give for each image the place of its class"),
        ([True, False, True], "got torch.bool"),
        ([None, 1, 2], "got a list of NoneType"),
        ([[1], [2, 3], [4]], "one label for each of 3 images"),
        (torch.eye(3, 10).long(), r"one label for each of 3 images, got shape \(3, 10\)"),
        ([1, 2], "one label for each of 3 images"),
        ([1, 2, 10], r"labels in 0 … 9.* got 1 … 10"),
        (7, "one label for each of 3 images"),
    ],
)  # fmt: skip
def test_labels_that_are_no_integers_are_refused(labels, said) -> None:
    with pytest.raises(InputError, match=said):
        effpath.build_class_paths(graph(), data().train_images[:3], labels)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda v: np.array(v, np.uint8)])
def test_labels_may_be_any_integers(kind) -> None:
    pixels, labels = images(slice(0, 20))
    found = effpath.build_class_paths(graph(), pixels, kind(labels.tolist()), layers=2, options=NEURONS)
    assert found == build(slice(0, 20))


def test_no_images_are_an_error_and_no_class_has_no_overall_path() -> None:
    with pytest.raises(InputError, match="got none"):
        build(slice(0, 0))
    with pytest.raises(effpath.errors.ClassPathError, match="no class has a path"):
        replace(first(), paths={}).overall  # noqa: B018


def test_other_weights_of_the_same_architecture_are_told_from_another_network(tmp_path) -> None:
    from effpath.demo.lenet import LeNet5

    effpath.save_class_paths(first(), tmp_path / "c")
    torch.manual_seed(1)
    random = effpath.capture(LeNet5(image_size=8).eval(), data().train_images[:1])
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    other = effpath.capture(linear, data().train_images[:1])
    with pytest.raises(StoreError, match=r"the weights differ: load the weights .*--weights"):
        effpath.load_class_paths(tmp_path / "c", random)
    with pytest.raises(StoreError, match="the architectures differ: load the model"):
        effpath.load_class_paths(tmp_path / "c", other)
    with pytest.raises(StoreError, match="the weights differ"):
        first().similarity(effpath.extract(random, data().test_images[:2], layers=2), "neurons")
    with pytest.raises(StoreError, match="the weights differ"):
        path_features(random, first(), data().test_images[:2], level="neurons")
