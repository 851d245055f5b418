"""Kernels where Numba may not compile, may not write, or is interrupted."""

from __future__ import annotations

import sys

import numba
import pytest
import torch
from numba.core.caching import FunctionCache
from torch import nn

import effpath
from cli_run import run
from effpath.backends.compiled import CompiledWalk
from effpath.errors import OptionError, was_interrupted
from effpath.kernels import compiling


def double(x):
    return 2 * x


@pytest.fixture
def no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FunctionCache._impl_class, "_locator_classes", [])
    compiling._warn_of_no_cache.cache_clear()
    yield
    compiling._warn_of_no_cache.cache_clear()


@pytest.mark.usefixtures("no_place_for_a_cache")
def test_without_a_place_for_a_cache_loops_are_compiled_all_the_same_and_one_warning_says_so() -> None:
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(double)
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR") as said:
        made = [compiling.compiled_with(error_model="numpy")(double) for _ in range(3)]
    assert len(said) == 1
    assert [loop(3) for loop in made] == [6, 6, 6]


def test_other_failures_to_decorate_are_not_taken_for_a_missing_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**flags):
        raise RuntimeError("another one")

    monkeypatch.setattr(numba, "njit", broken)
    with pytest.raises(RuntimeError, match="another one"):
        compiling.compiled_with()(double)


def test_where_compilation_is_forbidden_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(OptionError, match=r"NUMBA_DISABLE_JIT=1.*unset"):
        compiling.compiled_with()(double)
    for name in ("effpath.kernels.cpu", "effpath.kernels.active"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(OptionError, match="NUMBA_DISABLE_JIT"):
        __import__("effpath.kernels.cpu")


def test_a_change_in_any_file_of_kernels_makes_what_was_compiled_before_stale(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def compiled_again() -> bool:
        made = compiling.compiled_with()(double)
        assert made(3) == 6
        return bool(made.stats.cache_misses)

    assert [compiled_again(), compiled_again()] == [True, False]
    monkeypatch.setattr(compiling, "_sources", lambda: (("another.py", 1, 1),))
    assert [compiled_again(), compiled_again()] == [True, False]


def interrupted(*_, **__):
    """Fail as a dispatcher does that Ctrl-C reached while it compiled."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise SystemError("<dispatcher> returned a result with an exception set") from error


def test_an_interrupt_while_a_kernel_is_compiled_is_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = effpath.capture(nn.Linear(2, 2).eval(), torch.zeros(1, 2))
    monkeypatch.setattr(CompiledWalk, "decide", interrupted)
    with pytest.raises(KeyboardInterrupt) as error:
        effpath.extract(graph, torch.ones(1, 2))
    assert error.value.__cause__ is None


def test_an_error_of_the_system_that_no_interrupt_is_behind_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_, **__):
        raise SystemError("something else")

    graph = effpath.capture(nn.Linear(2, 2).eval(), torch.zeros(1, 2))
    monkeypatch.setattr(CompiledWalk, "decide", broken)
    with pytest.raises(SystemError, match="something else") as error:
        effpath.extract(graph, torch.ones(1, 2))
    assert not was_interrupted(error.value)


def test_an_interrupted_compilation_ends_the_command_with_130_and_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.modules["effpath.cli.main"], "app", interrupted)
    code, out, err = run(monkeypatch, capsys, "check")
    assert (code, out) == (130, "")
    assert len(err.splitlines()) == 1
    assert "interrupted" in err
