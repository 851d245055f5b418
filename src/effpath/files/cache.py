"""Files that are written completely or not at all, and fingerprints that say when one may be reused."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from effpath.errors import InputError, StoreError


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then replace ``path`` by it in one step.

    A reader sees the old file or the new one, never a part. If ``write`` ends early, with Ctrl-C included, the old
    file is untouched and the temporary one is removed. Missing folders are created. The new file has the mode of
    the file that it replaces, otherwise the mode that the umask gives.

    Raises:
        StoreError: the disk is full, read-only or refuses for another reason; names path and cause.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # as the umask says; some writers create files that only their owner may read
        mode = stat.S_IMODE((path if path.is_file() else temporary).stat().st_mode)
        write(temporary)
        temporary.chmod(mode)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except StoreError:
        raise
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in an error of its own
        raise StoreError(
            f"cannot write {path}: {error}. The previous file is unchanged; "
            f"free some space or choose another folder, then run again"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be missing or read-only
            temporary.unlink(missing_ok=True)


def check_output(path: Path) -> None:
    """Raise StoreError where a file cannot be written, so that this is known before the work, not after it."""
    folder = next(above for above in path.absolute().parents if above.exists())
    if path.is_dir():
        raise StoreError(f"cannot write {path}: expected a file, got the folder {path}; name a file in it")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write {path}: {folder} is not a writable folder; choose another")


_steps: list[Path] = []


def note_step(file: Path) -> None:
    """Remember that a file, or the folder of a store, contains finished work from which a later run resumes."""
    if file not in _steps:
        _steps.append(file)


def forget_steps() -> None:
    """Start another run in this process: the files of the previous run are not part of it."""
    _steps.clear()


def kept_steps() -> list[Path]:
    """Return the files noted by this run that still exist: what an interrupted run leaves for the next."""
    return [file for file in _steps if file.exists()]


def default_cache_dir() -> Path:
    """Return the folder of cached results.

    It is ``$EFFPATH_CACHE``, otherwise ``$XDG_CACHE_HOME/effpath``, otherwise ``~/.cache/effpath``.
    """
    if chosen := os.environ.get("EFFPATH_CACHE"):
        return Path(chosen).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "effpath"
    return Path.home() / ".cache" / "effpath"


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256, in hex, of any nesting of plain values, NumPy arrays and tensors.

    Types, dtypes and shapes count: ``1``, ``1.0``, ``True`` and ``"1"`` all differ. The order of a dict's
    keys, a tensor's device and its memory layout do not count.

    Raises:
        InputError: a value of any other type.
    """
    return _digest(parts).hex()


def state_fingerprint(module: nn.Module) -> str:
    """Return the `fingerprint` of a network: its parameters and buffers by name, and what each module does.

    What a module does is its class, its ``extra_repr`` (a stride, a slope), its plain attributes and the compiled
    code of its ``forward``; functions called there count by name only. Buffers that ``state_dict`` omits
    (``persistent=False``) count too; training mode does not.
    """
    does = {name: _behaviour(part) for name, part in module.named_modules()}
    return fingerprint(does, {**dict(module.named_buffers()), **module.state_dict()})


def _behaviour(module: nn.Module) -> list[Any]:
    """Return what one module does, apart from its parameters, buffers and children."""
    plain = {
        name: repr(value)
        for name, value in vars(module).items()
        if name != "training" and isinstance(value, (bool, int, float, str, tuple, types.NoneType))
    }
    forward = getattr(getattr(module, "forward", None), "__code__", None)
    return [type(module).__qualname__, module.extra_repr(), plain, list(_code(forward)) if forward else []]


def _code(code: types.CodeType) -> Iterator[Any]:
    """Yield what a function's code computes, without its file and line numbers."""
    yield from (code.co_code, list(code.co_names))
    for constant in code.co_consts:
        yield list(_code(constant)) if isinstance(constant, types.CodeType) else repr(constant)


def _digest(value: Any) -> bytes:
    """Return the hash of a value; a container hashes the hashes of its members, which keeps them apart."""
    digest = hashlib.sha256()
    for piece in _pieces(value):
        digest.update(piece)
    return digest.digest()


def _pieces(value: Any) -> list[Any]:
    """Return what to hash of one value, as bytes and buffers; the first says the type."""
    if value is None or isinstance(value, (bool, int)):
        return [f"{type(value).__name__}:{value}".encode()]
    if isinstance(value, np.generic):  # before float and str: np.float64 and np.str_ are those too
        return _pieces(np.asarray(value))
    if isinstance(value, float):
        return [b"float:", struct.pack("<d", value)]
    if isinstance(value, str):
        return [b"str:", value.encode()]
    if isinstance(value, bytes):
        return [b"bytes:", value]
    if isinstance(value, (list, tuple)):
        return [f"{'list' if isinstance(value, list) else 'tuple'}:".encode(), *map(_digest, value)]
    if isinstance(value, dict):
        return [b"dict:", *sorted(_digest(key) + _digest(item) for key, item in value.items())]
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        return [f"tensor:{value.dtype}:{tuple(value.shape)}:".encode(), flat.view(torch.uint8).numpy()]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        flat_array = np.ascontiguousarray(value).reshape(-1)
        return [f"array:{value.dtype.str}:{value.shape}:".encode(), flat_array.tobytes()]
    raise InputError(
        "expected a str, int, float, bool, None, bytes, list, tuple, dict, NumPy array or tensor to fingerprint, "
        f"got a value of type {type(value).__name__}; convert it to one of these"
    )
