"""What a number was measured on: processor, cores, versions, source code, load."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import effpath

HERE = Path(__file__).parent


def processor() -> str:
    """Return the processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return processor and cores."""
    return {"processor": processor(), "cores": os.cpu_count()}


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python, of installed packages and of effpath."""
    found = {"python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in packages} | {"effpath": effpath.__version__}


def source() -> str:
    """Return a digest of the code that results depend on: the package and the benchmarks."""
    digest = hashlib.sha256()
    package = Path(effpath.__file__).parent
    for folder in (package, HERE):
        for file in sorted(folder.rglob("*.py")):
            beside = (
                "page.py",
                "plot.py",
                "goals.py",
                "guard.py",
                "sets.py",
                "explain.py",
                "same.py",
                "profiles.py",
            )
            if file.name not in beside and file.parent.name != "stores":
                digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def load_average() -> float:
    """Return the mean number of runnable processes of the last minute."""
    return round(os.getloadavg()[0], 2)


def memory(key: str) -> int:
    """Return bytes of this process: ``"VmRSS"`` held now, ``"VmHWM"`` the most since the last `forget_peak`."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"expected {key} in /proc/self/status, there is none; memory is measured on Linux only")


def forget_peak() -> None:
    """Let ``VmHWM`` begin anew at what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
