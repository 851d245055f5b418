"""What a measurement writes: the numbers, and the command, machine and versions that gave them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import load_average, machine, versions
from effpath.files.cache import atomic_write

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "stores"


def write_result(
    output: Path,
    module: str,
    found: Mapping[str, Any],
    packages: Sequence[str] = ("torch", "numpy"),
    *,
    research: bool = False,
) -> None:
    """Write what a module of this folder found, and the command; `research`: on $EFFPATH_DATA."""
    data = "EFFPATH_DATA=DIR " if research else ""
    about = {
        "command": f"{data}python -m benchmarks.stores.{module} {shlex.join(sys.argv[1:])}".strip(),
        "machine": machine(),
        "load_average": load_average(),
        "versions": versions(packages),
    }
    text = json.dumps({**about, **found}, indent=1) + "\n"
    atomic_write(output, lambda file: file.write_text(text, encoding="utf-8"))


def read_result(name: str) -> dict[str, Any] | None:
    """Return what was measured under a name; None where it was not."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def mb(count: float) -> str:
    """Return bytes in MB."""
    return number(count / 1e6)


def number(value: float) -> str:
    """Return a number to three digits, without an exponent where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def short(network: str) -> str:
    """Return a network's name without its data."""
    return network.removeprefix("data:").removesuffix("_imagenette")


def source(found: Mapping[str, Any]) -> str:
    """Return where numbers are from."""
    return f"`{found['command']}`; {found['machine']['processor']}, load average {found['load_average']:g}."
