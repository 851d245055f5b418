"""A store that takes a moment to build: striped images, and a network that tells them apart without training.

``python tiny_store.py`` builds one for each line ``ENGINE FOLDER`` that it reads, in a process that may be killed;
ENGINE is ray, or a number of processes, 0 for none but that.
It prints ``opened`` with the id of the process, a line whenever something is done, and ``exit`` with how the
process ended.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import effpath
from effpath.class_paths.build import Work, prepare
from effpath.class_paths.folder.build import fill_store
from effpath.class_paths.folder.cluster import Ray
from effpath.class_paths.folder.engines import Engine, Inline, Processes
from striped import CLASSES, SIDE, network, striped

COUNT = 60
OPTIONS = effpath.StoreOptions(batch_size=5, shard_size=8)
DESCRIPTION = effpath.Description(("left", "middle", "right"), "stripes", "stripes by content", range(COUNT))


@cache
def graph(structure: str | None = None) -> effpath.Graph:
    return effpath.capture(network(), torch.rand(1, 1, SIDE, SIDE), structure=structure)


@cache
def images(count: int = COUNT, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey images whose class is the bright column; every seventh has a wrong label."""
    pixels, columns = striped(np.random.default_rng(seed), count)
    columns[::7] = (columns[::7] + 1) % CLASSES
    return pixels, columns


@cache
def in_memory() -> effpath.ClassPaths:
    return effpath.build_class_paths(graph(), *images(), options=OPTIONS, description=DESCRIPTION)


def build(folder: Path, **changes: Any) -> effpath.ClassPaths:
    """Build the store, with other options than the usual where they are given."""
    return effpath.build_store(
        folder, graph(), *images(), options=replace(OPTIONS, **changes), description=DESCRIPTION
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store but its lock, byte for byte."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@cache
def work(structure: str | None = None) -> Work:
    """What a process of its own opens."""
    return prepare(graph(structure), *images(), options=OPTIONS, description=DESCRIPTION)


def engine_named(name: str) -> Engine:
    if name == "ray":
        return Ray()
    return Processes(int(name)) if int(name) else Inline()


def fill(folder: Path, engine: Engine) -> None:
    """Build the store, and tell how far it is."""
    import tiny_store  # not __main__, which other processes do not know

    open_work = partial(tiny_store.work, graph().structure)

    def tell(done: int, total: int) -> None:
        print(done, flush=True)

    with closing(engine):
        print("opened", os.getpid(), flush=True)
        fill_store(folder, work(), OPTIONS, engine=engine, open_work=open_work, progress=tell)
    print("ended", flush=True)


def main() -> None:
    torch.set_num_threads(1)  # so that a fork holds no lock of another thread
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / "store")  # compiled once, for all that follow
    for line in sys.stdin:
        engine, folder = line.rstrip("\n").split(" ", 1)
        process = os.fork()
        if not process:
            try:
                fill(Path(folder), engine_named(engine))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print("exit", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
