"""What is finished survives, nothing counts twice, and the store opens whatever has happened."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import effpath
import tiny_store
from effpath.class_paths.folder.manifest import read_manifest
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.verify import verify
from effpath.errors import ClassPathError, InputError, OptionError, StoreError
from effpath.files.cache import kept_steps
from effpath.images.lazy import LazyImages
from tiny_store import COUNT, DESCRIPTION, OPTIONS, build, contents, graph, images, in_memory


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    build(folder, shard_size=20)
    return contents(folder)


def assert_sets(found: effpath.ClassPaths, wanted: effpath.ClassPaths) -> None:
    assert dict(found) == dict(wanted)
    assert (found.seen, found.images) == (wanted.seen, wanted.images)
    for label, counted in wanted.counts.items():
        for level, sets in counted.items():
            for key, counts in sets.items():
                np.testing.assert_array_equal(found.counts[label][level][key], counts)


class Torn:
    """Lets a function of the system fail at its nth call, before or after it did its work."""

    def __init__(self, monkeypatch, name: str, at: int, error: BaseException, after: bool = False) -> None:
        self.calls, real = 0, getattr(os, name)

        def call(*arguments, **options):
            self.calls += 1
            torn = self.calls == at
            if torn and not after:
                raise error
            result = real(*arguments, **options)
            if torn:
                raise error
            return result

        monkeypatch.setattr(os, name, call)

    def happened(self, at: int) -> bool:
        return self.calls >= at


@pytest.mark.parametrize(
    ("name", "after", "error"),
    [
        ("fsync", False, OSError(28, "No space left on device")),
        ("replace", False, KeyboardInterrupt()),
        ("replace", True, KeyboardInterrupt()),
        ("rename", True, KeyboardInterrupt()),
    ],
    ids=["disk full", "killed before a file is there", "killed after it", "killed after the first step"],
)
def test_a_run_that_ends_at_any_write_goes_on_to_the_same_bytes(
    tmp_path, monkeypatch, undisturbed, name, after, error
) -> None:
    at = 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        with monkeypatch.context() as patched:
            torn = Torn(patched, name, at, error, after)
            with contextlib.suppress(KeyboardInterrupt, StoreError):
                build(folder, shard_size=20)
        if not torn.happened(at):
            break  # the run has no more writes
        if folder.exists():
            assert verify(folder) == []
            effpath.load_class_paths(folder, graph()).densities()
        assert_sets(build(folder, shard_size=20), in_memory())
        assert contents(folder) == undisturbed
        assert not list(tmp_path.glob(".*.tmp"))
    assert at > (1 if name == "rename" else len(undisturbed))


@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch, at) -> None:
    Torn(monkeypatch, "fsync", at, OSError(28, "No space left on device"))
    with pytest.raises(StoreError, match=r"cannot write .*No space left on device"):
        build(tmp_path / "store", shard_size=20)


def test_finished_shards_are_not_built_again(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "store"
    with monkeypatch.context() as patched:
        Torn(patched, "fsync", 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            build(folder)
    waiting = Store.open(folder).waiting()
    assert len(waiting) >= 3
    assert kept_steps()[-1] == folder
    said: list[tuple[int, int]] = []
    options = replace(OPTIONS)
    effpath.build_store(
        folder, graph(), *images(), options=options, description=DESCRIPTION,
        progress=lambda done, total: said.append((done, total)),
    )  # fmt: skip
    done = [each for each, _ in said]
    assert done == sorted(done)
    assert done[0] >= 7 * len(waiting)
    assert said[-1] == (COUNT, COUNT)
    monkeypatch.setattr("effpath.walk.recording.record", None)
    assert_sets(build(folder), in_memory())


def test_images_and_classes_are_added_later(tmp_path) -> None:
    folder, (pixels, labels) = tmp_path / "store", images()
    rows = np.flatnonzero((labels != 2).numpy())[:20]
    described = replace(DESCRIPTION, rows=rows)
    effpath.build_store(folder, graph(), pixels[rows], labels[rows], options=OPTIONS, description=described)
    first = read_manifest(folder)
    assert first.classes.keys() == {0, 1}
    assert_sets(build(folder), in_memory())
    assert sum(read_manifest(folder).shards.values()) == COUNT
    assert verify(folder) == []
    more = tiny_store.images(30, seed=1)
    other = effpath.Description(data="more stripes", origin="more stripes by content", rows=range(30))
    with pytest.raises(StoreError, match="it holds images of 'stripes', here are those of 'more stripes'"):
        effpath.build_store(folder, graph(), *more, options=OPTIONS, description=other)
    built = effpath.build_store(folder, graph(), *more, options=replace(OPTIONS, add=True), description=other)
    wanted = in_memory() | effpath.build_class_paths(graph(), *more, options=OPTIONS, description=other)
    assert_sets(built, wanted)
    assert built.data == wanted.data == "stripes | more stripes"
    assert_sets(build(folder), wanted)  # the first images again: they are all in it


def test_another_size_of_shards_goes_on_with_what_is_there(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "store"
    with monkeypatch.context() as patched:
        Torn(patched, "fsync", 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            build(folder)
    assert_sets(build(folder, shard_size=11), in_memory())
    assert verify(folder) == []


def test_images_that_are_in_the_store_are_not_counted_again(tmp_path) -> None:
    folder, (pixels, labels) = tmp_path / "store", images()
    build(folder)
    before = contents(folder)
    for origin in ("copies by content", ""):
        copies = effpath.Description(data="copies", origin=origin, rows=range(5))
        with pytest.raises(OptionError, match=r"got \d from copies that are, with the same pixels and labels"):
            effpath.build_store(
                folder, graph(), pixels[:5], labels[:5], options=replace(OPTIONS, add=True), description=copies
            )
        assert contents(folder) == before


def test_equal_pictures_of_one_data_set_are_two_images(tmp_path) -> None:
    twice = torch.arange(20).repeat(2)
    pixels, labels = (each[twice] for each in images())
    wanted = effpath.build_class_paths(graph(), pixels, labels, options=OPTIONS)
    assert_sets(effpath.build_store(tmp_path / "s", graph(), pixels, labels, options=OPTIONS), wanted)


def lazily(broken: dict[int, Exception]) -> LazyImages:
    """The images as they would be read from files, some of which are broken."""

    def read(rows):
        for row in rows.tolist():
            if row in broken:
                raise broken[row]
        return images()[0][rows]

    return LazyImages(COUNT, read)


def test_a_damaged_image_is_left_out_counted_and_named_unless_it_must_not_be(tmp_path) -> None:
    pixels, labels = images()
    broken = {3: InputError("cannot read the picture 3.jpg"), 40: InputError("cannot read the picture 40.jpg")}
    built = effpath.build_store(
        tmp_path / "s", graph(), lazily(broken), labels, options=OPTIONS, description=DESCRIPTION
    )
    whole = [row for row in range(COUNT) if row not in broken]
    wanted = effpath.build_class_paths(graph(), pixels[whole], labels[whole], options=OPTIONS)
    assert_sets(built, wanted)
    manifest = read_manifest(tmp_path / "s")
    assert manifest.damaged == {f"image {row}": str(error) for row, error in broken.items()}
    by_class = {label: entry.damaged for label, entry in manifest.classes.items()}
    assert by_class == {label: sum(int(labels[row]) == label for row in broken) for label in range(3)}
    spoilt = pixels.clone()
    spoilt[40, 0, 1, 1] = float("nan")
    built = effpath.build_store(tmp_path / "nan", graph(), spoilt, labels, options=OPTIONS)
    assert built.seen == COUNT - 1
    assert "NaN" in read_manifest(tmp_path / "nan").damaged["image 40"]
    with pytest.raises(InputError, match=r"cannot read the picture \d+.jpg"):
        effpath.build_store(
            tmp_path / "strict", graph(), lazily(broken), labels, options=replace(OPTIONS, strict=True)
        )


def test_images_none_of_which_can_be_read_leave_nothing(tmp_path) -> None:
    broken: dict[int, Exception] = {row: InputError(f"cannot read {row}") for row in range(COUNT)}
    with pytest.raises(InputError, match="none of 8 images can be read: cannot read"):
        effpath.build_store(tmp_path / "s", graph(), lazily(broken), images()[1], options=OPTIONS)
    assert not Store.open(tmp_path / "s").waiting()
    assert not read_manifest(tmp_path / "s").shards


def test_a_shard_that_fails_three_times_is_named_and_left(tmp_path) -> None:
    tries: list[int] = []

    class Flaky(Exception):
        pass

    class Broken(dict):
        def __contains__(self, row) -> bool:
            if row == 17:
                tries.append(row)
            return super().__contains__(row)

    broken = Broken({17: Flaky("the disk is away")})
    arguments = graph(), lazily(broken), images()[1]
    with pytest.raises(
        ClassPathError, match=r"1 of 8 shards failed 3 times .*Flaky: the disk is away.*tries them"
    ):
        effpath.build_store(tmp_path / "s", *arguments, options=OPTIONS, description=DESCRIPTION)
    assert len(tries) == 3
    assert verify(tmp_path / "s") == []
    assert 0 < effpath.load_class_paths(tmp_path / "s", graph()).seen < COUNT
    del broken[17]
    built = effpath.build_store(tmp_path / "s", *arguments, options=OPTIONS, description=DESCRIPTION)
    assert_sets(built, in_memory())


def test_a_shard_that_succeeds_in_the_end_is_taken(tmp_path) -> None:
    failures = [RuntimeError("not yet"), RuntimeError("not yet")]

    def read(rows):
        if 17 in rows.tolist() and failures:
            raise failures.pop()
        return images()[0][rows]

    built = effpath.build_store(
        tmp_path / "s", graph(), LazyImages(COUNT, read), images()[1], options=OPTIONS, description=DESCRIPTION
    )
    assert_sets(built, in_memory())
    assert not failures


def test_a_damaged_shard_of_an_unfinished_run_is_named(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "store"
    with monkeypatch.context() as patched:
        Torn(patched, "fsync", 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            build(folder)
    store = Store.open(folder)
    file = store.shard_file(store.waiting()[0])
    content = bytearray(file.read_bytes())
    content[20] ^= 1  # in the header
    file.write_bytes(content)
    assert [file.name in said for said in verify(folder)] == [True]
    with pytest.raises(StoreError, match=rf"{file.name}.*delete it, and it is built again"):
        build(folder)
    file.unlink()
    assert_sets(build(folder), in_memory())


def test_two_runs_do_not_write_at_a_time(tmp_path) -> None:
    build(tmp_path / "store")
    store = Store.open(tmp_path / "store")
    with store.locked(), pytest.raises(StoreError, match="another run is writing to it"):
        build(tmp_path / "store")
    build(tmp_path / "store")


def test_a_shard_of_no_image_is_refused() -> None:
    with pytest.raises(OptionError, match="expected a shard_size of at least 1, got 0"):
        effpath.StoreOptions(shard_size=0)


def test_the_images_of_a_store_are_still_what_they_were(tmp_path) -> None:
    pixels, labels = (each.clone() for each in images())
    build(tmp_path / "store")
    pixels[17, 0, 3, 3] += 0.125
    described: dict[Path, effpath.Description] = {
        tmp_path / "store": DESCRIPTION, tmp_path / "unnamed": effpath.Description(data="stripes"),
    }  # fmt: skip
    effpath.build_store(tmp_path / "unnamed", graph(), *images(), description=described[tmp_path / "unnamed"])
    for folder, description in described.items():
        with pytest.raises(StoreError, match="belongs to another run: image 17 had other pixels or another label"):
            effpath.build_store(
                folder, graph(), pixels, labels, options=effpath.StoreOptions(), description=description
            )
