"""Building class paths into a store, shard by shard: what is finished survives, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, TypedDict, Unpack

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effpath.class_paths.build import Description, Work, check_missing, prepare
from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.folder.choice import engine_named
from effpath.class_paths.folder.engines import Engine, Inline
from effpath.class_paths.folder.filling import Filling, Progress
from effpath.class_paths.folder.matching import check_same, open_or_create
from effpath.class_paths.folder.options import StoreOptions
from effpath.class_paths.folder.sharing import Here
from effpath.class_paths.folder.tasks import Opener
from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_images
from effpath.images import Images
from effpath.kernels.options import Options


class Selection(TypedDict, total=False):
    """Which paths: the arguments of `extract` that say so."""

    preset: str | Options
    theta: float | None
    layers: int | str | Sequence[str] | None


def build_store(
    folder: str | FilePath,
    graph: Graph,
    images: Images | Dataset[Any] | DataLoader[Any],
    labels: Tensor | Sequence[int] | None = None,
    *,
    options: StoreOptions | None = None,
    description: Description | None = None,
    engine: str | Engine = "inline",
    workers: int | None = None,
    gpus: float = 0,
    progress: Progress | None = None,
    **selection: Unpack[Selection],
) -> ClassPaths:
    """Build class paths into a store, and return them: the sets are those of `build_class_paths`.

    The images are cut into shards. A finished shard is a file; in the end all of them are taken into the class
    paths, in one step. The same call goes on after an interruption, and takes in what has been added to the
    images; what is in the class paths already is not done again.

    Args:
        folder: of the store, new or not.
        graph, images, labels, description: as in `build_class_paths`.
        options: what is kept, and how; None for all levels with their use counts.
        engine: ``"inline"``, which is this process; ``"processes"``; ``"ray"``; or an engine, which stays open.
            Each process is given network and images once, pickled, and runs the script that started it again,
            which must therefore begin with ``if __name__ == "__main__":``. That is why inline is the default.
        workers: shards that processes or Ray build at a time; None for as many as there are processors.
        gpus: that Ray reserves for each shard (``num_gpus``); for a network on a GPU.
        progress: called with (images done, images in all), those that were in the store already among both.
        **selection: preset, theta and layers, as in `extract`.

    Returns:
        Class paths that are read from the store when they are asked for; `ClassPaths.loaded` reads them at once.

    Raises:
        ClassPathError: a class has images but none is predicted correctly, or a shard failed three times; the
            store keeps the others.
        InputError: no image can be read; with ``strict``, one cannot.
        FingerprintError, OptionError, StoreError: the store belongs to another network, other options or other
            data; another run is writing to it; a file of it is damaged or cannot be written; the bound of memory
            is too tight; no such engine.
        MissingExtraError: Ray is not installed.
    """
    options = options or StoreOptions()
    if (workers is not None or gpus) and not isinstance(engine, str):
        raise OptionError(f"expected workers and gpus with the name of an engine, got {engine!r}; give them to it")
    work = prepare(graph, images, labels, options=options, description=description, **selection)
    if isinstance(work.images, (list, tuple, np.ndarray)):  # in memory, so that all are compared with the store's
        work = replace(work, images=as_images(work.images, "images as a tensor [N, C, H, W]"))
    with ExitStack() as opened:
        if isinstance(engine, str):
            engine = opened.enter_context(closing(engine_named(engine, workers, gpus)))
        return fill_store(folder, work, options, engine=engine, progress=progress)


def fill_store(
    folder: str | FilePath,
    work: Work,
    options: StoreOptions,
    *,
    engine: Engine | None = None,
    open_work: Opener | None = None,
    progress: Progress | None = None,
) -> ClassPaths:
    """Build class paths into a store; see `build_store`.

    Args:
        folder: of the store.
        work: what to build from.
        options: how.
        engine: what runs the tasks; this process if not given.
        open_work: opens the work in other processes; if not given, they are given it.
        progress: as in `build_store`.
    """
    engine = engine or Inline()
    opener = Here(work, open_work) if open_work else engine.share(work)
    filling = Filling(work, options, engine, opener, progress or (lambda *_: None))
    with open_or_create(FilePath(folder), work.empty, options.counts).locked() as store:
        check_same(store, work.empty, options.counts)
        store = filling.fill(store)
    found = store.class_paths(work.graph)
    if not options.allow_missing:
        check_missing(found, work.labels)
    return found
