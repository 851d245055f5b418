"""Changing bytes of a store, and counting what comes of reading it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import effpath
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.verify import verify_file
from effpath.errors import StoreError
from tiny_store import contents, graph


def read_class(folder: Path, label: int) -> None:
    """Read everything that there is of one class, as anybody does."""
    found = effpath.load_class_paths(folder, graph())
    for level, sets in found.counts[label].items():
        for key in sets:
            assert len(found[label].sets(level)[key]) == len(sets[key])


def parts_of(folder: Path, *, quickly: bool) -> dict[Path, Callable[[], object]]:
    """Every file of a store, with what reads it."""
    store = Store.open(folder)
    found: dict[Path, Callable[[], object]] = {
        folder / "manifest.json": lambda: Store.open(folder),
        folder / "network.json": lambda: Store.open(folder).structure,
        folder / store.manifest.images.file: lambda: store.records(),
    }
    for label in store.manifest.classes:
        file, seal = store.class_file(label)
        found[file] = (
            partial(verify_file, file, seal, "class paths") if quickly else partial(read_class, folder, label)
        )
    assert {str(file.relative_to(folder)) for file in found} == contents(folder).keys()
    return found


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with a bit flipped, another byte somewhere, or cut short."""
    at, kind = int(rng.integers(len(content))), rng.random()
    if kind < 0.1:
        return content[:at]
    other = content[at] ^ (1 << int(rng.integers(8)) if kind < 0.6 else int(rng.integers(1, 256)))
    return content[:at] + bytes([other]) + content[at + 1 :]


def damage(folder: Path, count: int, *, quickly: bool, seed: int = 0) -> Counter[str]:
    """Change a store so often, in every file in proportion to its size, and count what comes of reading it."""
    rng = np.random.default_rng(seed)
    parts = parts_of(folder, quickly=quickly)
    whole = sum(file.stat().st_size for file in parts)
    found: Counter[str] = Counter()
    for file, read in parts.items():
        content = file.read_bytes()
        for _ in range(max(20, round(count * len(content) / whole))):
            file.write_bytes(changed(content, rng))
            try:
                read()
                found["unnoticed"] += 1
            except StoreError as error:
                found["noticed" if file.name in str(error) else "noticed without its name"] += 1
            except Exception as error:
                found[f"raw {type(error).__name__}"] += 1
        file.write_bytes(content)
        read()
    return found
