import numpy as np
import pytest
import torch

import effpath
from digits_net import class_paths, data, graph
from effpath.errors import FingerprintError, StoreError
from effpath.paths.store import read_header


def test_saved_class_paths_open_as_they_were(tmp_path):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)
    opened = effpath.load_class_paths(file, graph())
    before = class_paths()
    assert opened.header.options == before.header.options
    assert (opened.seen, opened.images, opened.names, opened.data) == (
        400,
        before.images,
        before.names,
        before.data,
    )
    for label in before.classes:
        assert opened[label] == before[label]
        assert opened[label].images == before[label].images
        for level in before.levels:
            for key, (ids, counts) in before.counts[label][level].items():
                np.testing.assert_array_equal(opened.counts[label][level][key][0], ids)
                np.testing.assert_array_equal(opened.counts[label][level][key][1], counts)
    paths = effpath.extract(graph(), data().test_images[:9])
    np.testing.assert_array_equal(opened.similarity(paths), before.similarity(paths))


def test_sets_kept_as_bits_survive_too(tmp_path):
    file = tmp_path / "class_paths.safetensors"
    built = effpath.build_class_paths(graph(), data().train_images[:300], data().train_labels[:300], counts=False)
    assert any(s.bits is not None for s in built[0].synapses.values())
    effpath.save_class_paths(built, file)
    opened = effpath.load_class_paths(file, graph())
    assert all(opened[label] == built[label] for label in built.classes)


def test_the_header_tells_the_provenance_without_the_network(tmp_path):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)
    about = read_header(file)
    assert about["fingerprint"] == graph().fingerprint
    assert about["options"]["theta"] == 0.5
    assert about["options"]["preset"] == "default"
    assert sum(about["images"].values()) == class_paths().images
    assert about["data"] == "digits[:400]"


def test_class_paths_of_another_network_are_refused_with_both_fingerprints_named(tmp_path):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)
    other = effpath.capture(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval(), data().test_images[:1]
    )
    with pytest.raises(FingerprintError) as caught:
        effpath.load_class_paths(file, other)
    assert graph().fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)
    with pytest.raises(FingerprintError, match="another network"):
        effpath.path_features(other, class_paths(), data().test_images[:1])


@pytest.mark.parametrize("keep", [0, 5, 200, -40])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, keep):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"class_paths\.safetensors.*(truncated|damaged)"):
        effpath.load_class_paths(file, graph())


def test_a_missing_or_foreign_file_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="found no file"):
        effpath.load_class_paths(tmp_path / "none", graph())
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(StoreError, match="wanted a file of format effpath-class-paths-1"):
        effpath.load_class_paths(tmp_path / "foreign", graph())


def test_a_failed_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)
    before = file.read_bytes()

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("effpath.paths.store.save_file", full_disk)
    with pytest.raises(StoreError, match="No space left on device"):
        effpath.save_class_paths(class_paths(), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
