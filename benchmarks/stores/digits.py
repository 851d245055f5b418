"""A store that a command builds in seconds: LeNet-5, trained on scikit-learn's digits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

import effpath
from effpath.class_paths.build import Work, build_class_paths
from effpath.class_paths.folder.options import StoreOptions
from effpath.cli.options import Extraction, Source
from effpath.cli.work import Job
from effpath.data import load_data
from effpath.demo.network import trained_lenet

NETWORK = "from effpath.demo.lenet import LeNet5\ndef make():\n    return LeNet5(image_size=8).eval()\n"


@dataclass(frozen=True)
class DigitsJob:
    """The network and the options of the store, in a folder.

    Attributes:
        folder: of network and weights.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> DigitsJob:
        """Train the network, and write it into the folder."""
        digits = load_data("digits")
        model = trained_lenet(digits.train_images, digits.train_labels, classes=10, data="digits")
        (folder / "network.py").write_text(NETWORK, encoding="utf-8")
        save_file(model.state_dict(), folder / "weights.safetensors")
        return cls(folder)

    def command(self, store: Path, engine: str, workers: int | None, shard_size: int = 32) -> list[str]:
        """Return the command that builds the store."""
        network = [
            f"{self.folder / 'network.py'}:make",
            "digits",
            "--weights",
            self.folder / "weights.safetensors",
        ]
        options = ["--counts", "--quiet", "--shard-size", shard_size, "--engine", engine]
        options += [] if workers is None else ["--workers", workers]
        return [sys.executable, "-m", "effpath", *map(str, ["profile", *network, "-o", store, *options])]

    def work(self, options: StoreOptions | None = None, per_class: int | None = None) -> Work:
        """Return network and images as the command opens them; only so many of each class where that is given."""
        source = Source(f"{self.folder / 'network.py'}:make", self.folder / "weights.safetensors")
        return Job(source, "digits", Extraction(), options or StoreOptions(), per_class).open()

    def in_memory(self) -> tuple[effpath.Graph, effpath.ClassPaths]:
        """Return the network, and the class paths that the store must have, built in memory."""
        work = self.work()
        return work.graph, build_class_paths(work.graph, work.images, work.labels)


def contents(store: Path) -> dict[str, bytes]:
    """Return every file of a store but its lock."""
    files = (file for file in sorted(store.rglob("*")) if file.is_file() and file.name != "lock")
    return {str(file.relative_to(store)): file.read_bytes() for file in files}
