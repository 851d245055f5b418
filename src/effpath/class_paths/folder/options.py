"""What a store keeps, and how it is built."""

from __future__ import annotations

from dataclasses import dataclass

from effpath.class_paths.build import BuildOptions
from effpath.errors import OptionError


@dataclass(frozen=True)
class StoreOptions(BuildOptions):
    """What a store keeps, and how it is built.

    Attributes:
        levels, counts, batch_size, allow_missing, memory: see `BuildOptions`.
        shard_size: images of a shard; those of unfinished shards are what an interruption loses.
        strict: an image that cannot be read, or holds NaN, is an error, instead of being left out and named.
        add: take images of other data than are in the store already. They must have another origin or description.
    """

    shard_size: int = 512
    strict: bool = False
    add: bool = False

    def __post_init__(self) -> None:
        """Check the size of a shard."""
        if self.shard_size < 1:
            raise OptionError(f"expected a shard_size of at least 1, got {self.shard_size}")
