"""A store has the sets of the class paths that are built in memory, and reads no more of them than it is asked."""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import effpath
import tiny_store
from container_contract import MappingContract
from effpath.class_paths.folder.manifest import Entries, Kept, OfClass, read_manifest, write_manifest
from effpath.class_paths.folder.store import Store
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import path_features
from effpath.errors import FingerprintError, StoreError
from effpath.files.sealed import SealedFile
from effpath.rules import LEVELS
from tiny_store import build, contents, graph, images, in_memory

KEPT: list[tempfile.TemporaryDirectory[str]] = []


@cache
def folder() -> Path:
    """A store that is only read."""
    KEPT.append(tempfile.TemporaryDirectory())
    build(Path(KEPT[-1].name) / "store")
    return Path(KEPT[-1].name) / "store"


def opened() -> effpath.ClassPaths:
    return effpath.load_class_paths(folder(), graph())


def assert_same(one: effpath.ClassPaths, other: effpath.ClassPaths) -> None:
    assert dict(one) == dict(other)
    assert {label: path.images for label, path in one.items()} == {label: p.images for label, p in other.items()}
    assert one.seen == other.seen
    assert one.counts.keys() == other.counts.keys()
    for label, counted in one.counts.items():
        for level, sets in counted.items():
            for key, counts in sets.items():
                np.testing.assert_array_equal(counts, other.counts[label][level][key])


class TestOpenedStore(MappingContract):
    def made(self) -> effpath.ClassPaths:
        return opened()


@pytest.mark.parametrize("counts", [True, False])
def test_a_store_has_the_sets_and_counts_of_class_paths_in_memory(tmp_path, counts) -> None:
    built = build(tmp_path / "store", counts=counts)
    wanted = in_memory() if counts else effpath.build_class_paths(
        graph(), *images(), options=effpath.BuildOptions(counts=False), description=tiny_store.DESCRIPTION
    )  # fmt: skip
    assert_same(built, wanted)
    assert (built.names, built.data, built.levels) == (wanted.names, wanted.data, wanted.levels)
    assert sum(shard.common(wanted.shards[0]) for shard in built.shards) == tiny_store.COUNT


def test_loaded_and_exported_a_store_is_the_same(tmp_path) -> None:
    assert_same(opened().loaded(), in_memory())
    effpath.save_class_paths(opened(), tmp_path / "c.safetensors")
    exported = effpath.load_class_paths(tmp_path / "c.safetensors", graph())
    assert_same(exported, in_memory())
    assert exported.shards[0].common(in_memory().shards[0]) == tiny_store.COUNT


def test_every_query_answers_as_in_memory() -> None:
    store, memory = opened(), in_memory()
    for level in LEVELS:
        for minimum in (1, 3):
            np.testing.assert_array_equal(
                store.class_similarity(level, minimum=minimum), memory.class_similarity(level, minimum=minimum)
            )
            np.testing.assert_array_equal(
                store.densities(level, minimum=minimum), memory.densities(level, minimum=minimum)
            )
        np.testing.assert_array_equal(store.growth(1, [1, 5], level), memory.growth(1, [1, 5], level))
        found = [path_features(graph(), paths, images()[0][:9], level=level) for paths in (store, memory)]
        np.testing.assert_array_equal(found[0].values, found[1].values)
    assert store.overall == memory.overall
    paths = effpath.extract(graph(), images()[0][:9])
    np.testing.assert_array_equal(PathLikelihood(store)(paths), PathLikelihood(memory)(paths))
    np.testing.assert_array_equal(store.similarity(paths, minimum=2), memory.similarity(paths, minimum=2))


def test_only_the_class_and_the_layer_that_are_asked_for_are_read(monkeypatch) -> None:
    read: list[str] = []
    real = SealedFile.array

    def array(self, name):
        read.append(name)
        return real(self, name)

    monkeypatch.setattr(SealedFile, "array", array)
    store = opened()
    assert (len(store), store.images, 1 in store, list(store)) == (3, in_memory().images, True, [0, 1, 2])
    assert not read
    layer = store.header.keys("synapses")[-1]
    store.members(1, "synapses", layer)
    assert {name.rpartition("/")[0] for name in read} == {f"1/synapses/{layer}"}
    read.clear()
    path_features(graph(), store, images()[0][:1])
    predicted = effpath.extract(graph(), images()[0][:1]).logits[0].argsort()[::-1][:2]
    assert {int(name.split("/")[0]) for name in read} == set(predicted.tolist())
    assert {name.split("/")[1] for name in read} == {"synapses"}


def test_what_was_read_last_is_held_within_its_bound(monkeypatch) -> None:
    read: list[str] = []
    real = SealedFile.array
    monkeypatch.setattr(SealedFile, "array", lambda self, name: read.append(name) or real(self, name))
    store, (layer, *_) = opened(), opened().header.keys("neurons")
    sets = [store.members(label, "neurons", layer) for label in (0, 1, 2, 2, 1, 0)]
    assert sets[:3] == sets[:2:-1]
    assert {name.split("/")[0]: read.count(name) for name in read} == {"0": 1, "1": 1, "2": 1}
    read.clear()
    monkeypatch.setattr("effpath.class_paths.folder.opened.HELD", 4 * max(each.nbytes for each in sets))
    again = opened()
    assert [again.members(label, "neurons", layer) for label in (0, 1, 2, 2, 1, 0)] == sets
    assert {read.count(name) for name in read} == {1}
    read.clear()
    monkeypatch.setattr("effpath.class_paths.folder.opened.HELD", 0)
    again = opened()
    assert [again.members(label, "neurons", layer) for label in (0, 1, 2, 2, 1, 0)] == sets
    assert {read.count(name) for name in read} == {2}


def test_the_manifest_says_what_a_store_is_of(tmp_path) -> None:
    manifest = read_manifest(folder())
    _, labels = images()
    assert manifest.about["fingerprint"] == graph().fingerprint
    assert (manifest.about["options"]["theta"], manifest.about["options"]["preset"]) == (0.5, "default")
    assert manifest.about["levels"] == list(LEVELS)
    assert manifest.about["names"] == ["left", "middle", "right"]
    assert manifest.origins == {"stripes by content": "stripes"}
    assert sum(manifest.shards.values()) == tiny_store.COUNT
    assert len(manifest.shards) == -(-tiny_store.COUNT // tiny_store.OPTIONS.shard_size)
    for label, entry in manifest.classes.items():
        assert entry.used == in_memory()[label].images
        assert entry.used + entry.wrong == int((labels == label).sum())
        assert entry.damaged == 0
    assert Store.open(folder()).structure == graph().structure
    assert {name.partition("/")[0] for name in contents(folder())} == {
        "manifest.json", "network.json", "classes", manifest.images.file,
    }  # fmt: skip


def test_a_manifest_that_is_read_and_written_has_the_same_bytes(tmp_path) -> None:
    write_manifest(tmp_path, read_manifest(folder()))
    assert (tmp_path / "manifest.json").read_bytes() == (folder() / "manifest.json").read_bytes()


def test_entries_of_classes_are_a_mapping_that_ascends_with_class_and_knows_its_sums() -> None:
    wanted = {
        10: OfClass(3, 1, 1, Kept("10.safetensors", "ab")),
        9: OfClass(0, 2, 0),
        0: OfClass(5, 0, 0, Kept("a", "b")),
    }
    entries = Entries.of(wanted)
    assert dict(entries) == wanted
    assert (list(entries), entries.kept, entries.readable) == ([0, 9, 10], [0, 10], 11)
    assert entries.get(1) is None


def test_another_run_is_noticed_by_the_locks_of_windows_too(monkeypatch) -> None:
    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    with (
        pytest.raises(StoreError, match="another run is writing to it"),
        Store.open(folder()).locked(),
    ):
        pass


def test_a_store_of_another_network_is_refused() -> None:
    torch.manual_seed(0)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    with pytest.raises(FingerprintError, match="the architectures differ"):
        effpath.load_class_paths(folder(), effpath.capture(other, images()[0][:1]))


def test_a_folder_that_is_no_store_is_refused(tmp_path) -> None:
    with pytest.raises(
        StoreError, match=r"expected a store of class paths in .* found no readable manifest\.json"
    ):
        effpath.load_class_paths(tmp_path, graph())
    with pytest.raises(StoreError, match=r"cannot write .* got a folder without manifest\.json"):
        build(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .* expected the folder of a store, got a file"):
        build(tmp_path / "file")


def test_a_class_that_has_no_path_is_named_with_those_that_have(tmp_path) -> None:
    pixels, labels = images()
    options = effpath.StoreOptions(allow_missing=True, shard_size=8)
    built = effpath.build_store(tmp_path / "s", graph(), pixels[labels != 1], labels[labels != 1], options=options)
    with pytest.raises(effpath.errors.ClassPathError, match=r"no class path for class 1; there are .* for 0, 2"):
        built[1]
