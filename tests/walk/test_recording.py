"""How many images are recorded at a time: by bytes, and with the same sets whatever their number."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.demo.lenet import LeNet5
from effpath.detect import path_features
from effpath.errors import NumericalError, OptionError
from effpath.graph import inputs
from effpath.graph.inputs import images_together
from effpath.kernels.options import make_options
from effpath.walk.recording import bytes_per_image, record, recordings

OPTIONS = make_options("default")


@cache
def each() -> int:
    """What is kept of one image by the digits' network, in bytes."""
    kept = record(graph(), data().test_images[:1], options=OPTIONS).values
    return sum(value.nbytes for value in kept.values())


def bytes_of(images: int) -> int:
    return images * each()


@pytest.fixture
def recorded(monkeypatch):
    """Number of images of every forward pass."""
    sizes: list[int] = []
    own = effpath.Graph.run

    def note(graph, images, *others):
        sizes.append(len(images))
        return own(graph, images, *others)

    monkeypatch.setattr(effpath.Graph, "run", note)
    return sizes


def test_small_networks_take_256_images_and_larger_ones_what_the_bytes_allow(monkeypatch):
    assert images_together(bytes_per_image(graph(), OPTIONS, None)) == 256
    for images in (1, 10, 100):
        monkeypatch.setattr(inputs, "ACTIVATION_BYTES", bytes_of(images))
        assert images_together(bytes_per_image(graph(), OPTIONS, None)) == images
    monkeypatch.setattr(inputs, "ACTIVATION_BYTES", 1)
    assert images_together(bytes_per_image(graph(), OPTIONS, None)) == 1
    assert images_together(bytes_per_image(graph(), OPTIONS, None), 7) == 7


def test_an_image_of_a_large_network_counts_with_all_that_is_kept_of_it(monkeypatch):
    large = effpath.capture(LeNet5(image_size=28).eval(), data().train_images[:1].new_zeros(1, 1, 28, 28))
    for images in (100, 10):
        monkeypatch.setattr(inputs, "ACTIVATION_BYTES", bytes_of(images))
        few = images_together(bytes_per_image(large, OPTIONS, None))
        assert 0 < few < images / 5  # 12 times the pixels
        assert few <= images_together(bytes_per_image(large, OPTIONS, 1))


@pytest.mark.parametrize(("size", "ends"), [(None, [10]), (4, [4, 8, 10]), (10, [10])])
def test_batches_say_which_images_they_are_and_report_when_they_are_done(size, ends):
    images, done, rows = data().test_images[:10], [], []
    batches = recordings(
        graph(), images, options=OPTIONS, batch_size=size, progress=lambda *counts: done.append(counts)
    )
    for batch in batches:
        rows.append(batch.rows)
        assert len(done) == len(rows) - 1
        torch.testing.assert_close(batch.pixels, images[batch.rows])
        assert len(batch.recorded) == len(batch.pixels)
    assert [(own.start, own.stop) for own in rows] == list(itertools.pairwise([0, *ends]))
    assert done == [(end, 10) for end in ends]


def test_no_images_give_no_batch():
    assert not list(recordings(graph(), data().test_images[:0], options=OPTIONS))


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_without_an_image_is_refused(size):
    images, labels = data().test_images[:4], data().test_labels[:4]
    with pytest.raises(OptionError, match=f"expected a batch_size of at least 1, .* got {size}"):
        path_features(graph(), class_paths(), images, batch_size=size)
    with pytest.raises(OptionError, match=f"expected a batch_size of at least 1, .* got {size}"):
        effpath.build_class_paths(graph(), images, labels, options=effpath.BuildOptions(batch_size=size))


def test_no_forward_pass_holds_more_than_the_bytes_and_the_results_are_the_same(recorded, monkeypatch):
    images = data().test_images[:60]
    attacked, labels = noisy(images[30:]), data().test_labels[:60]

    def everything():
        detector = effpath.Detector(graph(), class_paths(), kind="linear")
        detector.fit(images[:30], attacked).calibrate(images[30:])
        built = effpath.build_class_paths(
            graph(), images, labels, options=effpath.BuildOptions(allow_missing=True)
        )
        return built, detector.detect(images), detector.score(attacked), effpath.extract(graph(), images)

    whole = everything()
    assert max(recorded) == 60
    recorded.clear()
    monkeypatch.setattr(inputs, "ACTIVATION_BYTES", bytes_of(8))
    parts = everything()
    assert max(recorded) <= 8
    assert sum(recorded) == 60 + 30 + 60 + 60 + 30 + 60
    assert all(parts[0][label] == whole[0][label] for label in whole[0].classes)
    np.testing.assert_array_equal(parts[1].scores, whole[1].scores)
    np.testing.assert_array_equal(parts[2], whole[2])
    assert all(parts[3][place] == whole[3][place] for place in range(60))


@pytest.mark.parametrize(
    "read",
    [
        lambda images: list(recordings(graph(), images, options=OPTIONS, batch_size=8)),
        lambda images: graph().predict(images, batch_size=8),
        lambda images: graph()(images),
        lambda images: path_features(graph(), class_paths(), images, batch_size=8),
        lambda images: effpath.build_class_paths(graph(), images, [0] * len(images)),
    ],
    ids=["recordings", "predict", "call", "features", "class paths"],
)
def test_a_bad_image_is_named_by_its_place_among_all_images(read, monkeypatch):
    monkeypatch.setattr(inputs, "TOGETHER", 8)
    images = data().test_images[:30].clone()
    images[21, 0, 0, 0] = float("nan")
    with pytest.raises(NumericalError, match=r"images at index \[21\]"):
        read(images)
