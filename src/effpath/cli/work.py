"""The labelled images that a command builds class paths from, as every process that works on them opens them."""

from __future__ import annotations

import contextlib
import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from effpath.cli.options import Extraction, Source

if TYPE_CHECKING:
    from effpath.class_paths.build import Work
    from effpath.class_paths.folder.engines import Engine
    from effpath.class_paths.folder.options import StoreOptions


@dataclass(frozen=True)
class Job:
    """What a command line says of network and images: plain values, which any process can open.

    Attributes:
        source: the network.
        data: the data set.
        extraction: which paths.
        options: what is kept, and how.
        per_class: only so many images of each class.
        shard: (i, n): only the i-th of n parts of the images.
        structure: of the network, once it has been captured.
    """

    source: Source
    data: str
    extraction: Extraction
    options: StoreOptions
    per_class: int | None = None
    shard: tuple[int, int] | None = None
    structure: str | None = None

    def __call__(self) -> Work:
        """Return what `open` does, opened once in a process of its own; that is quiet: the command has said it."""
        return _opened(self)

    def open(self) -> Work:
        """Return network and images; note what a person should know of them."""
        from dataclasses import replace

        import torch

        from effpath.class_paths.build import Description, prepare
        from effpath.data import Part
        from effpath.errors import InputError
        from effpath.files.cache import fingerprint

        source = self.source
        network = source.open()
        dataset = network.dataset(self.data)
        images = network.part(dataset, "train", "all", checked=self.options.strict)
        rows = torch.arange(len(images))
        if self.per_class is not None:
            rows = Part(rows, images.labels).first_of_each_class(self.per_class).images[:]
        if self.shard is not None:
            first, count = self.shard
            rows = rows[first - 1 :: count]
            if not len(rows):
                raise InputError(
                    f"expected at most as many shards as images, got {first}/{count} of {len(images)} images, "
                    "which is empty"
                )
        origin = fingerprint(dataset.name, source.part, dataset.classes, images.labels, list(images.names))
        images = images.take(rows)
        graph = network.capture(images.images, self.structure)
        outputs = network.outputs(dataset, graph.classes)
        names = tuple(getattr(network.model, "classes", ()))
        if len(names) != graph.classes:
            at = dict(zip(outputs.tolist(), dataset.classes, strict=True))
            names = tuple(at.get(output, "") for output in range(graph.classes))
        part = source.part or ("train" if "train" in dataset.parts else "all")
        described = f"{dataset.name} {part}, seed {source.seed}"
        described += f", first {self.per_class} of each class" * (self.per_class is not None)
        if self.shard is not None:
            described += ", shard {}/{}".format(*self.shard)
        work = prepare(
            graph,
            images.images,
            outputs[images.labels],
            options=self.options,
            description=Description(names, described, origin, rows),
            **self.extraction.arguments,
        )
        return replace(work, names=images.names)


@functools.lru_cache(1)
def _opened(job: Job) -> Work:
    with contextlib.redirect_stderr(io.StringIO()):
        return job.open()


def parse_engine(name: str | None, workers: int | None, gpus: float) -> Engine:
    """Return the engine that ``--engine``, ``--workers`` and ``--gpus`` name; without a name, what pays."""
    from effpath.class_paths.folder.choice import ENGINES, Gradual, engine_named, processors

    if name not in (None, *ENGINES):
        raise typer.BadParameter(f"expected --engine inline, processes or ray, got {name!r}")
    if workers is not None and name == "inline":
        raise typer.BadParameter("--workers is for --engine processes and ray")
    if gpus and name != "ray":
        raise typer.BadParameter("--gpus is for --engine ray")
    if name is None:
        return Gradual(workers or processors())
    return engine_named(name, workers, gpus)
