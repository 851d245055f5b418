"""Scoring and uniting as the walk chooses give what the paths themselves give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import effpath
from digits_net import class_paths, data, graph
from effpath import BuildOptions
from effpath.class_paths import fused
from effpath.class_paths.fused import similarity
from effpath.errors import FingerprintError, OptionError
from effpath.graph import inputs
from effpath.kernels.options import make_options
from effpath.paths.batch import Paths
from effpath.rules import LEVELS
from effpath.walk.recording import record
from effpath.walk.visit import paths_of
from nets import NETS, captured, images_of
from two_backends import BACKENDS

NAMES = [net.name for net in NETS]


def small(name: str) -> tuple[effpath.Graph, torch.Tensor]:
    net = next(net for net in NETS if net.name == name)
    return captured(net)[1], images_of(net.shape, count=12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rank", [1, 2])
def test_a_score_is_the_similarity_of_the_path(rank: int, level: effpath.rules.Level, backend: str) -> None:
    images = data().test_images[:60]
    recorded = record(graph(), images, options=make_options("default"), backend=backend)
    for minimum in (1, 3):
        wanted = class_paths().similarity(paths_of(recorded, rank=rank), level, minimum=minimum)
        got = similarity(recorded, class_paths(), rank=rank, level=level, minimum=minimum)
        np.testing.assert_array_equal(got, wanted)
        assert 0 < np.nanmin(wanted) < 1 or minimum == 1


@pytest.mark.parametrize("preset", ["paper", "authors"])
@pytest.mark.parametrize("name", NAMES)
def test_a_score_from_any_class_of_any_network_is_the_similarity_of_the_path(name: str, preset: str) -> None:
    net, images = small(name)
    labels = effpath.extract(net, images).classes
    built = effpath.build_class_paths(net, images[:8], labels[:8].tolist(), preset=preset)
    starts = [int(label) for label in np.resize(built.classes, len(images))]
    recorded = record(net, images, options=make_options(preset))
    for level in LEVELS:
        wanted = built.similarity(paths_of(recorded, classes=starts), level)
        np.testing.assert_array_equal(similarity(recorded, built, classes=starts, level=level), wanted)


def thin(sets, keep: int) -> dict[str, effpath.IdSet]:
    return {key: effpath.IdSet(s.ids[:: max(1, len(s) // keep)], size=s.size) for key, s in sets.items()}


def test_sets_of_every_form_are_compared_alike() -> None:
    recorded = record(graph(), data().test_images[:40], options=make_options("default"))
    start = recorded.ranked(1)
    for keep in (3, 40, 100000):  # sorted ids, rows, bits
        thinned = {
            label: effpath.Path(path.header, {"synapses": thin(path.synapses, keep), "neurons": path.neurons})
            for label, path in class_paths().paths.items()
        }
        sparse = effpath.ClassPaths(class_paths().header, ("synapses", "neurons"), thinned)
        wanted = sparse.similarity(paths_of(recorded, classes=start))
        np.testing.assert_array_equal(similarity(recorded, sparse, classes=start), wanted)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_union_made_in_the_walk_is_the_union_of_the_paths(name: str, threads: int, monkeypatch) -> None:
    from effpath.backends import threads as shared

    monkeypatch.setattr(shared, "WORTH_A_THREAD", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net, images = small(name)
        paths = effpath.extract(net, images)
        options = BuildOptions(counts=False, batch_size=5)
        built = effpath.build_class_paths(net, images, paths.classes.tolist(), options=options)
        for label in built.classes:
            assert built[label] == paths.union(np.flatnonzero(paths.classes == label).tolist())
    finally:
        torch.set_num_threads(before)


def test_classes_are_closed_and_opened_again_where_bits_take_too_much_room(monkeypatch) -> None:
    images, labels = data().train_images[:80], data().train_labels[:80]
    options = BuildOptions(counts=False, allow_missing=True)
    whole = effpath.build_class_paths(graph(), images, labels, options=options)
    monkeypatch.setattr(fused, "OPEN_BYTES", 0)
    built = effpath.build_class_paths(graph(), images, labels, options=replace(options, batch_size=7))
    assert built.classes == whole.classes
    assert all(built[label] == whole[label] for label in whole.classes)
    assert [built[label].images for label in built.classes] == [whole[label].images for label in whole.classes]


def test_work_on_unions_goes_on_in_a_store(tmp_path) -> None:
    images, labels = data().train_images[:60], data().train_labels[:60]
    options = effpath.StoreOptions(counts=False, allow_missing=True, batch_size=15, shard_size=15)
    effpath.build_store(tmp_path / "half", graph(), images[:30], labels[:30], options=options)
    resumed = effpath.build_store(tmp_path / "half", graph(), images, labels, options=options)
    whole = effpath.build_class_paths(graph(), images, labels, options=options)
    assert resumed.classes == whole.classes
    assert all(resumed[label] == whole[label] for label in whole.classes)


def test_a_score_against_class_paths_of_other_options_or_networks_is_refused() -> None:
    recorded = record(graph(), data().test_images[:2], options=make_options("paper"))
    with pytest.raises(OptionError, match="options"):
        similarity(recorded, class_paths())
    other, images = small(NAMES[0])
    with pytest.raises(FingerprintError):
        similarity(record(other, images, options=make_options("default")), class_paths())


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_images_are_taken_in_parts_and_their_paths_laid_end_to_end(backend: str, monkeypatch) -> None:
    images = data().test_images[:11]
    whole = effpath.extract(graph(), images, backend=backend)
    monkeypatch.setattr(inputs, "ACTIVATION_BYTES", 1)
    parts = effpath.extract(graph(), images, backend=backend)
    chosen = effpath.extract(graph(), images, classes=whole.classes.tolist(), backend=backend)
    for other in (parts, chosen, Paths.join([whole])):
        assert other.classes.tolist() == whole.classes.tolist()
        for level in LEVELS:
            for key, rows in whole.ragged(level).items():
                assert np.array_equal(other.ragged(level)[key].values, rows.values)
                assert np.array_equal(other.ragged(level)[key].offsets, rows.offsets)
        assert np.array_equal(other.pixels.values, whole.pixels.values)
    with pytest.raises(OptionError, match="11"):
        effpath.extract(graph(), images, classes=[0] * 3, backend=backend)
