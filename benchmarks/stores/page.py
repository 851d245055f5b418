"""The results of this folder as a page: all below its mark.

python -m benchmarks.stores.page
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.stores import coding, cost, flips, full_disk, kept, kills, reduce, scaling, sizes, speed, thousand
from benchmarks.stores.result import read_result
from effpath.files.cache import atomic_write

PAGE = Path(__file__).parents[2] / "docs" / "imagenet.md"
MARK = "<!-- the tables: python -m benchmarks.stores.page -->"
SECTIONS: dict[str, tuple[str, Callable[[Any], str]]] = {  # result and what shows it, by title
    "Size per class": ("sizes", sizes.shown),
    "Memory": ("sizes", sizes.shown_peaks),
    "Memory with a budget": ("memory", sizes.shown_peaks),
    "Detection by level": ("kept", kept.shown),
    "Through the store and in memory": ("speed", speed.shown),
    "Several processes": ("scaling", scaling.shown),
    "Uniting the shards of a class": ("reduce", reduce.shown),
    "A thousand classes": ("thousand", thousand.shown),
    "Gaps and compression": ("coding", coding.shown),
    "Full disks": ("full_disk", full_disk.shown),
    "Damaged files": ("flips", flips.shown),
}


def tables() -> str:
    """Return everything below the mark."""
    parts = {"Cost": cost.shown(), "Detection by layers": kept.shown_by_layers()}
    for title, (name, shown) in SECTIONS.items():
        found = read_result(name)
        if found is not None:
            parts[title] = shown(found)
    killed = [found for found in map(read_result, ("kills_processes", "kills_ray")) if found is not None]
    parts["Killed runs"] = kills.shown(killed)
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in parts.items())


def write_page(page: Path = PAGE) -> None:
    """Replace all below the mark."""
    above = page.read_text(encoding="utf-8").split(MARK)[0]
    text = f"{above}{MARK}\n\n{tables()}\n"
    atomic_write(page, lambda file: file.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    write_page()
