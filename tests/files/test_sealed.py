"""Files notice a changed bit, whichever it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from benchmarks.flips import OTHER, RAW, REFUSED, SAME, chosen_bits, damage, make_files, without_seal
from effpath.attacks import adversarial_set
from effpath.attacks.adversarial_set import AdversarialSet
from effpath.class_paths.store import provenance_of
from effpath.errors import StoreError
from effpath.files.sealed import CHECKSUMS, SealedFile, checksum, write_sealed

ARRAYS = {
    "b": np.arange(5, dtype=np.uint16), "a": np.zeros((0, 3)), "c/d": np.array(True),
    "e": np.eye(2, 1, -1).T,
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("files"))[1]


def read_all(file: Path) -> bool:
    with SealedFile(file, "numbers") as opened:
        if not opened.sealed:
            raise opened.damaged("it has no checksums")
        if opened.about != {"effpath": "{}"} or opened.names != set(ARRAYS):
            return False
        return all(
            opened.array(name).dtype == array.dtype and np.array_equal(opened.array(name), array)
            for name, array in ARRAYS.items()
        )


def test_what_is_written_is_read_whatever_its_shape_and_type(tmp_path: Path) -> None:
    write_sealed(tmp_path / "file", ARRAYS, {"effpath": "{}"})
    assert read_all(tmp_path / "file")


def test_every_single_bit_of_a_small_file_and_every_cut_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_sealed(file, ARRAYS, {"effpath": "{}"})
    whole = file.read_bytes()
    found = damage(whole, range(8 * len(whole)), range(len(whole)), file, read_all)
    assert found[OTHER] == found[RAW] == 0
    assert found[SAME] == 0, "padding of the header is covered too"
    assert found[REFUSED] == 9 * len(whole)


def test_a_seal_over_the_header_s_texts_as_an_earlier_version_wrote_it_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_sealed(file, ARRAYS, {"effpath": "{}"})
    arrays = load_file(file)
    checksums = arrays[CHECKSUMS][:-4]
    digest = hashlib.sha256(json.dumps([[("effpath", "{}")], sorted(ARRAYS)]).encode())
    digest.update(checksums.astype("<u8").data)
    arrays[CHECKSUMS] = np.concatenate([checksums, np.frombuffer(digest.digest(), "<u8")])
    save_file(arrays, file, {"effpath": "{}"})
    assert read_all(file)


def test_equal_files_have_one_seal_and_others_another(tmp_path: Path) -> None:
    seals = []
    for name, arrays in (("a", ARRAYS), ("b", ARRAYS), ("c", ARRAYS | {"b": np.arange(1, 6, dtype=np.uint16)})):
        write_sealed(tmp_path / name, arrays, {"effpath": "{}"})
        seals.append(SealedFile(tmp_path / name, "numbers").seal)
    assert seals[0] == seals[1] != seals[2]
    assert len(seals[0]) == 64


def test_texts_are_in_the_order_of_their_names_so_that_equal_files_have_the_same_bytes(tmp_path: Path) -> None:
    texts = {"effpath": "{}", "shard": 'θ\n\x01\x7f"', "also": "", "detector": "\\", "names": "[]"}
    contents = set()
    for place in range(20):
        write_sealed(tmp_path / "file", ARRAYS, dict(list(texts.items())[::-1] if place % 2 else texts))
        contents.add((tmp_path / "file").read_bytes())
        opened = SealedFile(tmp_path / "file", "numbers")
        assert opened.about == texts
        assert all(np.array_equal(opened.array(name), array) for name, array in ARRAYS.items())
    assert len(contents) == 1


@pytest.mark.parametrize("kind", ["class paths", "detector"])
def test_no_flipped_bit_and_no_cut_gives_other_sets_or_scores(files, kind: str) -> None:
    file, read = files[kind]
    whole = file.read_bytes()
    assert read(file)
    found = damage(whole, chosen_bits(whole, 1000, 1), range(0, len(whole), len(whole) // 40), file, read)
    file.write_bytes(whole)
    assert found[OTHER] == found[RAW] == 0, found
    assert found[REFUSED] > 1000


@pytest.mark.parametrize("kind", ["class paths", "detector"])
def test_files_of_the_format_before_open_and_damage_to_them_is_no_raw_error(files, kind: str) -> None:
    file, read = files[kind]
    sealed = file.read_bytes()
    without_seal(file)
    whole = file.read_bytes()
    assert read(file)
    found = damage(whole, chosen_bits(whole, 300, 2), range(0, len(whole), len(whole) // 20), file, read)
    file.write_bytes(sealed)
    assert found[RAW] == 0, found
    assert found[OTHER] > 0, "there is nothing to notice it by"


def test_a_file_that_lost_its_seal_is_refused(files, tmp_path: Path) -> None:
    with SealedFile(files["class paths"][0], "class paths") as opened:
        about = opened.about
    arrays = load_file(files["class paths"][0])
    del arrays["checksums"]
    save_file(arrays, tmp_path / "file", about)
    lost = pytest.raises(StoreError, match="its seal and its checksums are missing")
    with lost, SealedFile(tmp_path / "file", "class paths") as opened:
        provenance_of(opened)


def test_the_checksum_tells_types_and_shapes_apart() -> None:
    zeros = [np.zeros(4, np.uint8), np.zeros((2, 2), np.uint8), np.zeros(1, np.uint32), np.zeros(1, np.float32)]
    assert len({checksum(array) for array in zeros}) == len(zeros)


def test_a_damaged_cache_of_an_attack_is_refused_whichever_bit_it_was(tmp_path: Path) -> None:
    column = torch.arange(2)
    made = AdversarialSet(
        "FGSM", {"epsilon": 0.1}, torch.rand(2, 1, 2, 2), column, column, column, column, column > 0,
        torch.rand(2, 3),
    )  # fmt: skip
    file = tmp_path / "set.safetensors"
    adversarial_set.save(made, file, "key")

    def read(file: Path) -> bool:
        found = adversarial_set.load(file, "key")
        return found.settings == made.settings and all(
            torch.equal(getattr(found, name), getattr(made, name))
            for name in ("images", "source", "labels", "targets", "predicted", "succeeded", "distances")
        )

    assert read(file)
    whole = file.read_bytes()
    found = damage(whole, chosen_bits(whole, 600, 3), range(0, len(whole), 50), file, read)
    assert found[OTHER] == found[RAW] == 0, found
    file.write_bytes(whole)
    with pytest.raises(StoreError, match="another set"):
        adversarial_set.load(file, "another key")


def test_the_header_of_a_sealed_file_is_plain_safetensors(tmp_path: Path) -> None:
    write_sealed(tmp_path / "file", ARRAYS, {"effpath": json.dumps({"a": 1})})
    assert set(load_file(tmp_path / "file")) == {*ARRAYS, "checksums"}
