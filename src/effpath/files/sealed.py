"""Safetensors files that detect a changed byte: checksums of all arrays, and a seal over these and the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from effpath.errors import StoreError
from effpath.files.cache import atomic_write

CHECKSUMS = "checksums"  # the array of them: uint64 [arrays + 4], in the order of the arrays' names, then the seal
SEAL_BYTES = 32
Checksums = NDArray[np.uint64]
UNREADABLE = (
    SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError,
)  # fmt: skip
"""What safetensors, NumPy and JSON raise on damaged files."""


def write_sealed(file: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, str]) -> None:
    """Write arrays and the texts of a header to a file, atomically, with what `SealedFile` checks.

    Raises:
        StoreError: the file cannot be written; the previous one is untouched.
    """
    plain = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    checksums = np.array([checksum(array) for array in plain.values()], np.uint64)
    sealed = {**plain, CHECKSUMS: np.concatenate([checksums, np.zeros(4, np.uint64)])}

    def write(temporary: Path) -> None:
        save_file(sealed, temporary, dict(about))
        with temporary.open("r+b") as opened:  # the seal covers the header's bytes, which are known now
            header = _ordered(_header(opened))
            end = json.loads(header[8:])[CHECKSUMS]["data_offsets"][1]
            opened.seek(0)
            opened.write(header)
            opened.seek(len(header) + end - SEAL_BYTES)
            opened.write(_seal(header, checksums))

    atomic_write(file, write)


class SealedFile:
    """An open safetensors file whose header and arrays are checked as they are read; use it in a ``with`` block.

    A file without a seal, from an earlier version, opens too, but nothing in it can be checked.

    Attributes:
        about: texts of the header.
        names: names of the arrays.
        sealed: whether the file has checksums.
        seal: what two files have in common only if every byte is the same, in hex; "" without checksums.
    """

    def __init__(self, file: str | Path, what: str) -> None:
        """Open a file of ``what`` (for messages) and check its header.

        Raises:
            StoreError: missing, truncated, damaged, or not a safetensors file.
        """
        self.file, self.what = str(file), what
        if not Path(file).is_file():
            raise StoreError(f"expected a file of {what}, found no file at {file}")
        try:
            opened: Any = safe_open(file, framework="numpy")
            self.about: dict[str, str] = dict(opened.metadata() or {})
            self.names: set[str] = set(opened.keys())
            with Path(file).open("rb") as plain:
                header = _header(plain)
        except UNREADABLE as error:
            raise self.damaged(str(error)) from error
        self._opened, self.sealed, self.seal = opened, CHECKSUMS in self.names, ""
        self._checksums: dict[str, int] = {}
        if not self.sealed:
            return
        self.names.remove(CHECKSUMS)
        names = sorted(self.names)
        checksums = self._read(CHECKSUMS)
        if checksums.dtype != np.uint64 or checksums.shape != (len(names) + 4,):
            raise self.damaged(f"expected {len(names)} checksums, got {checksums.dtype} {list(checksums.shape)}")
        checksums, seal = checksums[:-4], checksums[-4:].astype("<u8").tobytes()
        if seal not in (_seal(header, checksums), _seal(_texts(self.about, names), checksums)):
            raise self.damaged("the header or the list of arrays differs from what was written")
        self.seal = seal.hex()
        self._checksums = dict(zip(names, checksums.tolist(), strict=True))

    def __enter__(self) -> SealedFile:
        return self

    def __exit__(self, *error: object) -> None:
        del self._opened

    def array(self, name: str) -> NDArray[Any]:
        """Return an array, as it was written.

        Raises:
            StoreError: there is none with that name, or its bytes differ from what was written.
        """
        array = self._read(name)
        if self.sealed and checksum(array) != self._checksums.get(name):
            raise self.damaged(f"the bytes of {name} differ from what was written")
        return array

    def damaged(self, why: str) -> StoreError:
        """Return the error for a damaged file."""
        return StoreError(
            f"cannot read {self.what} from {self.file}: {why}; the file is truncated or damaged, or in "
            "another format: create it again, or copy it again"
        )

    def _read(self, name: str) -> NDArray[Any]:
        try:
            return np.asarray(self._opened.get_tensor(name))
        except UNREADABLE as error:
            raise self.damaged(str(error)) from error


def checksum(array: NDArray[Any]) -> int:
    """Return the first 64 bits of the SHA-256 of an array's type, shape and elements."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return int.from_bytes(digest.digest()[:8], "little")


def _header(opened: BinaryIO) -> bytes:
    """Return the header of a safetensors file, from its first byte: the length of what follows, and JSON."""
    length = opened.read(8)
    return length + opened.read(int.from_bytes(length, "little"))


def _ordered(header: bytes) -> bytes:
    """Return a header with its texts in the order of their names: safetensors writes them in any order."""
    entries = json.loads(header[8:])
    texts = {"__metadata__": dict(sorted(entries.pop("__metadata__", {}).items()))}
    ordered = json.dumps(texts | entries, ensure_ascii=False, separators=(",", ":")).encode()
    return header[:8] + ordered.ljust(len(header) - 8)


def _seal(header: bytes, checksums: Checksums) -> bytes:
    """Return the SHA-256 of the header and the checksums of all arrays."""
    digest = hashlib.sha256(header)
    digest.update(checksums.astype("<u8").data)
    return digest.digest()


def _texts(about: Mapping[str, str], names: list[str]) -> bytes:
    """Return what the seal covered in place of the header's bytes in files of an earlier version."""
    return json.dumps([sorted(about.items()), names]).encode()
