"""Imports go one way, and optional libraries are imported only where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import effpath

ROOT = Path(effpath.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LEVEL = {
    name: level
    for level, names in enumerate(
        [
            ("errors",),
            ("kernels", "files"),
            ("images",),
            ("models",),
            ("graph",),
            ("rules",),
            ("backends",),
            ("paths",),
            ("walk", "masks"),
            ("class_paths",),
            ("attacks", "data"),
            ("detect",),
            ("adaptive",),
            ("views",),
            ("captum", "demo"),
            ("cli",),
        ]
    )
    for name in names
}
FREE = ("attacks", "data", "models", "images")  # these know nothing of paths
OPTIONAL = {"captum", "foolbox", "torchvision", "timm"}


def imports(file: Path, *, top_level: bool) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_what_lies_below_it(file: Path) -> None:
    part = part_of(file)
    if part in ("__init__", "__main__"):
        return
    for name in imports(file, top_level=False):
        if not name.startswith("effpath.") or name == "effpath.__version__":
            continue
        other = name.split(".")[1]
        assert other == part or LEVEL[other] < LEVEL[part], f"{part} imports {name}"
        if part in FREE:
            assert other == part or other in ("errors", "files", *FREE), f"{part} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_imports_an_optional_library_when_it_is_imported(file: Path) -> None:
    assert OPTIONAL.isdisjoint(name.split(".")[0] for name in imports(file, top_level=True))


def test_importing_effpath_imports_no_optional_library_and_no_compiler() -> None:
    late = OPTIONAL | {"matplotlib", "numba", "llvmlite"}
    ask = f"import sys, effpath, effpath.cli; print(sorted({late!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
