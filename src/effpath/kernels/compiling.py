"""How loops are compiled by Numba: at the first call, kept on disk where there is a place for that."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

from effpath.errors import OptionError

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled_with(**flags: Any) -> Callable[[Loop], Loop]:
    """Return the decorator that compiles a loop; other threads run while it does.

    Raises:
        OptionError: where it decorates while the environment forbids compilation.
    """

    def compiled(loop: Loop) -> Loop:
        if numba.config.DISABLE_JIT:
            raise OptionError(
                "expected Numba to be able to compile, got NUMBA_DISABLE_JIT=1: sets of ids and the compiled walk "
                "consist of machine instructions without an equivalent in Python; unset NUMBA_DISABLE_JIT"
            )
        made: Loop
        try:
            made = numba.njit(cache=True, nogil=True, **flags)(loop)
            _depend_on_all(made)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _warn_of_no_cache()
            made = numba.njit(nogil=True, **flags)(loop)
        return made

    return compiled


kernel = compiled_with(error_model="numpy", no_cfunc_wrapper=True)
inner = compiled_with(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""A loop that kernels alone call: no time is spent on a way in from Python."""
part = compiled_with(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)
"""A part of kernels that is called so often that passing named tuples on the stack would show."""


def _depend_on_all(made: Any) -> None:
    """Let a change in any file of kernels make the cache stale: Numba looks at the file of the loop alone."""
    file = made._cache._cache_file
    file._source_stamp = (file._source_stamp, _sources())


@cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of every file of kernels."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


@cache
def _warn_of_no_cache() -> None:
    """Warn, once per process, that kernels are compiled again."""
    warnings.warn(
        "neither the folder of effpath nor a cache folder of the user is writable, so every process compiles the "
        "kernels again, which takes some seconds; set NUMBA_CACHE_DIR to a folder that "
        "is writable",
        stacklevel=4,
    )
