"""Building class paths into a store, shard by shard: what is finished survives, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effpath.class_paths.build import Description, Work, check_missing, prepare
from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.folder.engines import Engine, Inline
from effpath.class_paths.folder.filling import Filling, Progress
from effpath.class_paths.folder.matching import check_same, open_or_create
from effpath.class_paths.folder.options import StoreOptions
from effpath.class_paths.folder.tasks import Here, Opener
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_images
from effpath.images import Images
from effpath.kernels.options import Options


def build_store(
    folder: str | FilePath,
    graph: Graph,
    images: Images | Dataset[Any] | DataLoader[Any],
    labels: Tensor | Sequence[int] | None = None,
    *,
    preset: str | Options = "default",
    theta: float | None = None,
    layers: int | str | Sequence[str] | None = None,
    options: StoreOptions | None = None,
    description: Description | None = None,
    progress: Progress | None = None,
) -> ClassPaths:
    """Build class paths into a store, and return them: the sets are those of `build_class_paths`.

    The images are cut into shards. A finished shard is a file; in the end all of them are taken into the class
    paths, in one step. The same call goes on after an interruption, and takes in what has been added to the
    images; what is in the class paths already is not done again.

    Args:
        folder: of the store, new or not.
        graph, images, labels, preset, theta, layers, description: as in `build_class_paths`.
        options: what is kept, and how; None for all levels with their use counts.
        progress: called with (images done, images in all), those that were in the store already among both.

    Returns:
        Class paths that are read from the store when they are asked for; `ClassPaths.loaded` reads them at once.

    Raises:
        ClassPathError: a class has images but none is predicted correctly, or a shard failed three times; the
            store keeps the others.
        InputError: no image can be read; with ``strict``, one cannot.
        FingerprintError, OptionError, StoreError: the store belongs to another network, other options or other
            data; another run is writing to it; a file of it is damaged or cannot be written; the bound of memory
            is too tight.
    """
    options = options or StoreOptions()
    work = prepare(
        graph,
        images,
        labels,
        preset=preset,
        theta=theta,
        layers=layers,
        options=options,
        description=description,
    )
    if isinstance(work.images, (list, tuple, np.ndarray)):  # in memory, so that all are compared with the store's
        work = replace(work, images=as_images(work.images, "images as a tensor [N, C, H, W]"))
    return fill_store(folder, work, options, progress=progress)


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
        open_work: opens the work where the tasks run; needed where that is another process.
        progress: as in `build_store`.
    """
    filling = Filling(work, options, engine or Inline(), open_work or Here(work), progress or (lambda *_: None))
    with open_or_create(FilePath(folder), work.empty, options.counts).locked() as store:
        check_same(store, work.empty, options.counts)
        store = filling.fill(store)
    found = store.class_paths(work.graph)
    if not options.allow_missing:
        check_missing(found, work.labels)
    return found
