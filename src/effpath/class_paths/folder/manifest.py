"""The manifest of a store: JSON for people, which no changed byte gets past."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from effpath.errors import StoreError
from effpath.files.cache import atomic_write

NAME = "manifest.json"
READABLE = re.compile(rb'"(?:used|wrong)": (\d+)')  # images of a class that were read
FORMAT = "effpath-store-1"


class Kept(NamedTuple):
    """A file of a store.

    Attributes:
        file: its name.
        seal: the hash that it must have; see `SealedFile`.
    """

    file: str
    seal: str


class OfClass(NamedTuple):
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


class Entries(Mapping[int, OfClass]):
    """What a store has of each class: text of the manifest, which is parsed when it is asked for.

    So a store of a thousand classes opens as fast as one of ten.
    """

    def __init__(self, texts: Mapping[int, bytes]) -> None:
        """Take JSON objects with the attributes of `OfClass`, by class, ascending."""
        self._texts = texts

    @classmethod
    def of(cls, entries: Mapping[int, OfClass]) -> Entries:
        """Return the entries of classes, ascending."""
        return cls({label: json.dumps(entry._asdict()).encode() for label, entry in sorted(entries.items())})

    def __getitem__(self, label: int) -> OfClass:
        """Return what there is of a class; KeyError where it is none of the store."""
        found = json.loads(self._texts[label])
        return OfClass(**{**found, "kept": _kept(found["kept"])})

    def __iter__(self) -> Iterator[int]:
        """Classes, ascending."""
        return iter(self._texts)

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self._texts)

    @property
    def kept(self) -> list[int]:
        """Classes that have a path, ascending."""
        return [label for label, text in self._texts.items() if b'"kept": null' not in text]

    @property
    def readable(self) -> int:
        """How many images were read, of all classes."""
        return sum(map(int, READABLE.findall(b"".join(self._texts.values()))))


class Shards(Mapping[str, int]):
    """The number of images of each shard by id: text of the manifest, which is parsed when it is asked for."""

    def __init__(self, text: bytes) -> None:
        """Take a JSON object."""
        self._text = text

    @cached_property
    def _found(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self._text)
        return found

    def __getitem__(self, shard: str) -> int:
        """Return the number of images of a shard."""
        return self._found[shard]

    def __iter__(self) -> Iterator[str]:
        """Ids of the shards, in the order in which they were taken in."""
        return iter(self._found)

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self._found)


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
    classes: Entries = field(default_factory=lambda: Entries({}))
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
    content = {each.name: getattr(manifest, each.name) for each in fields(manifest)}
    content["classes"] = {label: entry._asdict() for label, entry in manifest.classes.items()}
    content["shards"] = dict(manifest.shards)
    written = json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False)
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
    members = _members(text, 1)
    if json.loads(members.pop("format", b"null")) != FORMAT:
        raise StoreError(
            f"expected a store of format {FORMAT}, got another in {file}: open it with its own version"
        )
    classes = Entries({int(label): entry for label, entry in _members(members.pop("classes"), 2).items()})
    shards = Shards(members.pop("shards"))
    found = {name: json.loads(member) for name, member in members.items()}
    for name in ("images", "structure"):
        found[name] = _kept(found[name])
    return Manifest(**found, classes=classes, shards=shards)


def _seal(text: bytes) -> bytes:
    """Return the end of a manifest, which follows its text."""
    return b',\n "sha256": "%s"\n}\n' % hashlib.sha256(text).hexdigest().encode()


def _members(text: bytes, depth: int) -> dict[str, bytes]:
    """Return the members of a JSON object, unparsed, by name; names are plain.

    Args:
        text: as `write_manifest` writes it: each member on a line of its own, and no other line has its indent.
        depth: of the indent.
    """
    before = b"\n" + b" " * depth + b'"'
    parts = text.removesuffix(b"\n" + b" " * (depth - 1) + b"}").split(before)[1:]
    found = (part.removesuffix(b",").partition(b'": ') for part in parts)
    return {name.decode(): value for name, _, value in found}


def _kept(found: Any) -> Kept | None:
    return None if found is None else Kept(*found)
