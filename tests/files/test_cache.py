"""Atomic files and fingerprints."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import save_file
from torch import nn

from effpath.errors import InputError, StoreError
from effpath.files.cache import (
    atomic_write,
    check_output,
    default_cache_dir,
    fingerprint,
    kept_steps,
    note_step,
    state_fingerprint,
)


def _write_then_raise(error: BaseException) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text("half of it")
        raise error

    return write


def test_a_new_file_appears_whole_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    atomic_write(path, lambda temporary: temporary.write_text("content") and None)
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    atomic_write(path, lambda temporary: temporary.write_text("new") and None)
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1)])
def test_whatever_interrupts_the_writing_leaves_the_old_file_whole_and_no_temporary(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        atomic_write(path, _write_then_raise(error))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_store_error_that_names_path_and_cause(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StoreError, match=r"file\.txt.*No space left on device") as caught:
        atomic_write(path, _write_then_raise(full))
    assert caught.value.__cause__ is full
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_in_which_safetensors_wraps_a_full_disk_is_a_store_error_too(tmp_path: Path) -> None:
    full = SafetensorError("I/O error: No space left")
    with pytest.raises(StoreError, match=r"x\.safetensors: I/O error: No space left"):
        atomic_write(tmp_path / "x.safetensors", _write_then_raise(full))
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("I am a file")
    with pytest.raises(StoreError, match="folder"):
        atomic_write(tmp_path / "folder" / "file.txt", lambda temporary: None)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "own"
    monkeypatch.delenv("EFFPATH_CACHE")
    assert default_cache_dir() == tmp_path / "xdg" / "effpath"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "effpath"


DIFFERENT: list[Any] = [
    None, True, False, 0, 1, 1.0, 0.0, -0.0, "1", b"1", "", b"", [], (), {}, [1], [1, 2], [[1], 2], [[1, 2]],
    [[], []], (1,), {"a": 1}, {"b": 1}, {"a": 2}, "None", float("nan"), float("inf"),
    np.zeros(2, np.float32), np.zeros(2, np.float64), np.zeros((1, 2), np.float32),
    np.zeros((2, 0)), np.zeros((0, 2)), np.zeros(2, np.int32), np.float64(1.0), np.float32(1.0),
    np.array(["1"]),
    torch.zeros(2), torch.zeros(2, dtype=torch.float64), torch.zeros(1, 2),
    torch.zeros(2, dtype=torch.bfloat16), torch.tensor(0.0), torch.zeros(0),
    torch.zeros(2, dtype=torch.bool), torch.ones(2),
]  # fmt: skip


def test_values_that_differ_in_type_shape_dtype_or_content_have_different_fingerprints() -> None:
    assert len({fingerprint(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_parts_do_not_run_together() -> None:
    parts: list[tuple[Any, ...]] = [("ab", "c"), ("a", "bc"), ("abc",), (["ab", "c"],)]
    assert len({fingerprint(*some) for some in parts}) == len(parts)


def test_the_order_of_keys_and_the_memory_layout_do_not_matter() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    x = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(x) == fingerprint(x.t().contiguous().t())
    assert fingerprint(x.numpy()) == fingerprint(np.asfortranarray(x.numpy()))
    assert fingerprint(x) == fingerprint(x.clone().requires_grad_())


def test_the_fingerprint_is_the_same_in_every_run() -> None:
    assert fingerprint("a", 1, {"x": [None, 2.5]}) == (
        "5f7b4db7132f8d04d2ccc538bfa16ca9b35071d34dd821074a9dd18d4a09a64b"
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    st.integers(),
)
def test_equal_values_have_equal_fingerprints_and_one_more_member_changes_it(value: Any, more: int) -> None:
    assert fingerprint(value) == fingerprint(value)
    assert fingerprint([value, more]) != fingerprint([value])


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(InputError, match="type object"):
        fingerprint({"a": [object()]})


def test_the_state_fingerprint_sees_every_weight_buffer_name_and_the_class() -> None:
    class Normed(nn.Linear):
        def __init__(self, mean: float, *, persistent: bool) -> None:
            super().__init__(2, 2)
            self.register_buffer("mean", torch.tensor(mean), persistent=persistent)

    torch.manual_seed(0)
    linear = nn.Linear(2, 2)
    base = state_fingerprint(linear)
    assert base == state_fingerprint(linear.eval())
    with torch.no_grad():
        linear.bias[0] += 1e-7
    seen = {base, state_fingerprint(linear), state_fingerprint(nn.Sequential(linear))}
    for mean in (0.0, 1.0):
        torch.manual_seed(0)
        seen.add(state_fingerprint(Normed(mean, persistent=False)))
    assert len(seen) == 5


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_umask_gives_whoever_writes_it(
    tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        atomic_write(tmp_path / "a", lambda temporary: save_file({"a": np.zeros(2)}, temporary))
        atomic_write(tmp_path / "b", lambda temporary: temporary.write_text("b") and None)
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"} == {mode}


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    old = tmp_path / "old"
    for mode in (0o640, 0o666, 0o600):
        old.write_text("old")
        old.chmod(mode)
        atomic_write(old, lambda temporary: save_file({"a": np.zeros(2)}, temporary))
        assert stat.S_IMODE(old.stat().st_mode) == mode
        atomic_write(old, lambda temporary: temporary.write_text("new"))
        assert stat.S_IMODE(old.stat().st_mode) == mode
        assert old.read_text() == "new"


def test_an_output_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("file")
    check_output(tmp_path / "file")
    check_output(tmp_path / "new" / "folder" / "file")
    with pytest.raises(StoreError, match="got the folder"):
        check_output(tmp_path)
    with pytest.raises(StoreError, match=r"file is not a writable folder"):
        check_output(tmp_path / "file" / "below")


def test_steps_are_kept_as_long_as_their_files_are(tmp_path: Path) -> None:
    before = kept_steps()
    file = tmp_path / "step"
    note_step(file)
    assert kept_steps() == before
    file.write_text("work")
    note_step(file)
    assert kept_steps() == [*before, file]
    file.unlink()
    assert kept_steps() == before


class _Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class _Shifted(_Scaled):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale


def test_networks_of_the_same_weights_that_compute_something_else_have_other_fingerprints() -> None:
    linear = nn.Linear(4, 4)
    networks = [
        nn.Sequential(linear, last)
        for last in (
            nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), nn.Softmax(0), nn.Softmax(1),
            _Scaled(1.0), _Scaled(2.0), _Shifted(1.0), nn.Identity(),
        )
    ]  # fmt: skip
    assert len({state_fingerprint(network) for network in networks}) == len(networks)
    assert state_fingerprint(nn.Sequential(linear, _Scaled(1.0))) == state_fingerprint(
        nn.Sequential(linear, _Scaled(1.0))
    )
