"""No changed byte of a store goes unnoticed, whichever file it is in; what is read says which."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.numpy import load

import effpath
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.verify import verify
from effpath.errors import StoreError
from store_damage import damage, read_class
from tiny_store import build, contents, graph

DAMAGES = 900


def test_a_changed_byte_is_an_error_that_names_the_file_when_that_is_read(tmp_path) -> None:
    build(tmp_path / "store")
    found = damage(tmp_path / "store", DAMAGES, quickly=False)
    assert found.keys() == {"noticed"}, found
    assert found["noticed"] >= DAMAGES - 10


def test_what_is_not_read_does_no_harm(tmp_path) -> None:
    folder = tmp_path / "store"
    build(folder)
    store = Store.open(folder)
    whole = effpath.load_class_paths(folder, graph()).loaded()
    file, _ = store.class_file(2)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    opened = effpath.load_class_paths(folder, graph())
    assert opened[0] == whole[0]
    wrong = verify(folder)
    assert len(wrong) == 1
    assert str(file) in wrong[0]
    with pytest.raises(StoreError, match=file.name):
        opened.loaded()


def test_a_file_in_the_place_of_another_is_noticed(tmp_path) -> None:
    folder, older = tmp_path / "store", tmp_path / "older"
    build(older, counts=False)
    build(folder)
    one, two = (Store.open(folder).class_file(label)[0] for label in (0, 1))
    shutil.copy(one, two)
    assert any("not the file that the manifest of the store names" in said for said in verify(folder))
    with pytest.raises(StoreError, match="not the file that the manifest of the store names"):
        read_class(folder, 1)
    two.unlink()
    with pytest.raises(StoreError, match="found no file"):
        read_class(folder, 1)
    read_class(folder, 0)
    shutil.copy(Store.open(older).class_file(0)[0], one)  # the same class over the same shards, of another run
    with pytest.raises(StoreError, match="not the file that the manifest of the store names"):
        read_class(folder, 0)


def test_a_store_is_json_and_safetensors_and_nothing_that_could_run(tmp_path) -> None:
    build(tmp_path / "store")
    for name, content in contents(tmp_path / "store").items():
        assert json.loads(content) if name.endswith(".json") else load(content)
