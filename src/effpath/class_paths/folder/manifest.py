"""The manifest of a store: JSON for people, which no changed byte gets past."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from effpath.errors import StoreError
from effpath.files.cache import atomic_write

NAME = "manifest.json"
FORMAT = "effpath-store-1"


class Kept(NamedTuple):
    """A file of a store.

    Attributes:
        file: its name.
        seal: the hash that it must have; see `SealedFile`.
    """

    file: str
    seal: str


@dataclass(frozen=True)
class OfClass:
    """What a store has of a class.

    Attributes:
        used: images in its path: predicted correctly.
        wrong: images predicted otherwise.
        damaged: images that could not be read.
        kept: the file of its path; None where no image was used.
    """

    used: int
    wrong: int
    damaged: int
    kept: Kept | None = None


@dataclass(frozen=True)
class Manifest:
    """What a store has, and what it was made from.

    Attributes:
        about: network, options, layers and levels, as `described`; names of the classes; whether counts are kept.
        origins: of the images: a description by identity.
        classes: by class, those too of which no image was used.
        shards: the number of images of each shard that is in the class paths, by id.
        damaged: why images could not be read, by name.
        images: the file that says which images these were; None before the first shard.
        structure: the file that lets the network be captured again at once; None where text cannot hold it.
    """

    about: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[int, OfClass] = field(default_factory=dict)
    shards: Mapping[str, int] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    images: Kept | None = None
    structure: Kept | None = None

    def files(self) -> set[str]:
        """Return the names of the files that belong to the store."""
        kept = [self.images, self.structure, *(each.kept for each in self.classes.values())]
        return {each.file for each in kept if each is not None}


def write_manifest(folder: FilePath, manifest: Manifest) -> None:
    """Write the manifest of a store, atomically; StoreError where that fails, which leaves the previous one."""
    written = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1, ensure_ascii=False)
    text = written.encode(errors="surrogatepass")  # names of files need not be text

    def write(temporary: FilePath) -> None:
        temporary.write_bytes(text.removesuffix(b"\n}") + _seal(text))

    atomic_write(folder / NAME, write)


def read_manifest(folder: FilePath) -> Manifest:
    """Return the manifest of a store.

    Raises:
        StoreError: no manifest, a damaged one, or one of another version.
    """
    file = folder / NAME
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StoreError(
            f"expected a store of class paths in {folder}, found no readable {NAME}: {error}"
        ) from error
    length = len(_seal(b""))
    text = content[:-length] + b"\n}"
    if content[-length:] != _seal(text):
        raise StoreError(
            f"cannot read {file}: it differs from what was written; it is truncated or damaged, was edited, or is "
            "no manifest of a store: copy it again, or build the store again in another folder"
        )
    found = json.loads(text)
    if found.pop("format", None) != FORMAT:
        raise StoreError(
            f"expected a store of format {FORMAT}, got another in {file}: open it with its own version"
        )
    for name in ("images", "structure"):
        found[name] = _kept(found[name])
    found["classes"] = {
        int(label): OfClass(entry["used"], entry["wrong"], entry["damaged"], _kept(entry["kept"]))
        for label, entry in found["classes"].items()
    }
    return Manifest(**found)


def _seal(text: bytes) -> bytes:
    """Return the end of a manifest, which follows its text."""
    return b',\n "sha256": "%s"\n}\n' % hashlib.sha256(text).hexdigest().encode()


def _kept(found: Any) -> Kept | None:
    return None if found is None else Kept(*found)
