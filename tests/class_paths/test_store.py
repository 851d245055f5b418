import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import effpath
from digits_net import class_paths, data, graph
from effpath.class_paths.store import WHAT, provenance_of
from effpath.detect import path_features
from effpath.errors import FingerprintError, StoreError
from effpath.files.sealed import SealedFile
from effpath.paths.idset import IdSet
from effpath.paths.path import Path


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
            for key, counts in before.counts[label][level].items():
                np.testing.assert_array_equal(opened.counts[label][level][key], counts)
    paths = effpath.extract(graph(), data().test_images[:9])
    np.testing.assert_array_equal(opened.similarity(paths), before.similarity(paths))


def read_header(file) -> dict:
    with SealedFile(file, WHAT) as opened:
        return provenance_of(opened)


def rewrite(file, change, about=None) -> None:
    """Let ``change`` edit the arrays of a class-path file, written as earlier versions did: unsealed."""
    header = read_header(file) | {"format": "effpath-class-paths-2"}
    del header["shares"], header["architecture"]
    arrays = {name: array for name, array in load_file(file).items() if name[0].isdigit()}
    change(arrays)
    save_file(arrays, file, {"effpath": json.dumps(header | (about or {}))})


def test_sets_kept_as_ids_survive(tmp_path):
    file = tmp_path / "class_paths.safetensors"
    header = class_paths().header
    sets = {key: IdSet([0, 2], size=header.universe("synapses", key)) for key in header.keys("synapses")}
    tiny = replace(class_paths(), levels=("synapses",), paths={4: Path(header, {"synapses": sets})}, counts={})
    effpath.save_class_paths(tiny, file)
    assert {name.rpartition("/")[2] for name in load_file(file) if name[0].isdigit()} == {"ids"}
    assert effpath.load_class_paths(file, graph())[4] == tiny[4]


@pytest.mark.parametrize("counts", [True, False])
def test_sets_kept_as_rows_and_as_bits_survive(tmp_path, counts):
    file = tmp_path / "class_paths.safetensors"
    images, labels = data().train_images[:300], data().train_labels[:300]
    built = effpath.build_class_paths(graph(), images, labels, options=effpath.BuildOptions(counts=counts))
    sets = [s for label in built.classes for level in built.levels for s in built[label].sets(level).values()]
    assert {name for s in sets for name in s.arrays} == {"starts", "lows", "bits"}
    effpath.save_class_paths(built, file)
    opened = effpath.load_class_paths(file, graph())
    assert all(opened[label] == built[label] for label in built.classes)
    assert bool(opened.counts) == counts


def test_files_of_the_first_format_still_open(tmp_path):
    file = tmp_path / "class_paths.safetensors"
    for class_path, counted in ((class_paths(), True), (replace(class_paths(), counts={}), False)):
        effpath.save_class_paths(class_path, file)

        def as_in_the_first_format(arrays, class_path=class_path, counted=counted):
            arrays.clear()
            for label in class_path.classes:
                for level in class_path.levels:
                    for key, ids in class_path[label].sets(level).items():
                        name = f"{label}/{level}/{key}"
                        if counted:
                            arrays[f"{name}/ids"] = ids.ids
                            arrays[f"{name}/counts"] = class_path.counts[label][level][key].astype(np.uint32)
                        elif 8 * len(ids) > (ids.size + 7) // 8:
                            arrays[f"{name}/bits"] = np.packbits(ids.mask(), bitorder="little")
                        else:
                            arrays[f"{name}/ids"] = ids.ids

        rewrite(file, as_in_the_first_format, {"format": "effpath-class-paths-1"})
        opened = effpath.load_class_paths(file, graph())
        assert all(opened[label] == class_path[label] for label in class_path.classes)
        assert bool(opened.counts) == counted
        for label in opened.counts:
            for level in opened.levels:
                for key, counts in class_path.counts[label][level].items():
                    np.testing.assert_array_equal(opened.counts[label][level][key], counts)


def test_counts_take_two_bytes_in_the_file_until_one_needs_four(tmp_path):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)
    assert {a.dtype for name, a in load_file(file).items() if name.endswith("/counts")} == {np.dtype(np.uint16)}
    big = 65536
    counts = {
        label: {
            level: {key: uses + np.uint32(big) for key, uses in sets.items()} for level, sets in levels.items()
        }
        for label, levels in class_paths().counts.items()
    }
    effpath.save_class_paths(replace(class_paths(), counts=counts), file)
    opened = effpath.load_class_paths(file, graph())
    for level, sets in counts[3].items():
        for key, uses in sets.items():
            np.testing.assert_array_equal(opened.counts[3][level][key], uses)


def longest(arrays, kind: str) -> str:
    return max((name for name in arrays if name.endswith(f"/{kind}")), key=lambda name: len(arrays[name]))


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("bits", lambda a: a[:-1], "bytes of bits"),
        ("bits", lambda a: a.astype(np.int64), "expected uint8"),
        ("lows", lambda a: a[:-1], "ascending starts"),
        ("lows", lambda a: a[::-1].copy(), "ascend within each chunk"),
        ("lows", lambda a: a.astype(np.float32), "expected uint16"),
        ("lows", lambda a: a[None], "expected uint16"),
        ("lows", lambda a: None, "the file has no array"),
        ("starts", lambda a: a[:-1], "ascending starts"),
        ("starts", lambda a: None, "the file has no array"),
        ("counts", lambda a: a[:-1], "one count for each"),
        ("counts", lambda a: None, "the file has no array"),
    ],
)
def test_arrays_that_do_not_fit_together_are_an_error_that_names_them(tmp_path, kind, change, said):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)

    def damage(arrays):
        name = longest(arrays, kind)
        changed = change(arrays.pop(name))
        if changed is not None:
            arrays[name] = changed

    rewrite(file, damage)
    with pytest.raises(StoreError, match=rf"cannot read the set \d/.*class_paths\.safetensors.*{said}"):
        effpath.load_class_paths(file, graph())


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
        path_features(other, class_paths(), data().test_images[:1])


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
    save_file({"a": np.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(
        StoreError,
        match="expected a file of format effpath-class-paths-1 or effpath-class-paths-2 or effpath-class-paths-3",
    ):
        effpath.load_class_paths(tmp_path / "foreign", graph())


def test_a_failed_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    file = tmp_path / "class_paths.safetensors"
    effpath.save_class_paths(class_paths(), file)
    before = file.read_bytes()

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("effpath.files.sealed.save_file", full_disk)
    with pytest.raises(StoreError, match="No space left on device"):
        effpath.save_class_paths(class_paths(), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
