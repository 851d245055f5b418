"""Splits of rows: disjoint by source image, or as the paper's program drew them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from effpath.errors import InputError, OptionError

IndexArray = npt.NDArray[np.intp]
Fractions = Mapping[str, float] | Sequence[float]

PARTS = ("train", "calibrate", "test")


def split_sources(source: npt.ArrayLike, *, fractions: Fractions, seed: int) -> dict[str, IndexArray]:
    """Return the rows of each part, ascending, such that no source image is in two parts.

    Images and sourceless rows are each divided in these shares, and the division of the images depends on their
    ids and the seed alone: not on how many attacks succeeded, nor on the order of the rows.

    Args:
        source: [n], the id of the clean image that a row was made from, or is; −1 = made from no image (random
            noise), a source of its own.
        fractions: {part: share of the sources}, or the shares of train, calibrate and test; what is missing to 1
            is in no part.
        seed: of the division.

    Raises:
        OptionError: wrong fractions.
        InputError: a part would stay empty.
    """
    source = _sources(source)
    shares = _shares(fractions)
    images, sourceless = np.unique(source[source >= 0]), np.flatnonzero(source == -1)
    image_parts = _divide(images, shares, np.random.default_rng([seed, 0]))
    row_parts = _divide(sourceless, shares, np.random.default_rng([seed, 1]))
    _check_filled(image_parts if len(images) else row_parts, shares, "sources")
    return {
        part: np.sort(np.concatenate([np.flatnonzero(np.isin(source, image_parts[part])), row_parts[part]]))
        for part in shares
    }


def paper_split(labels: npt.ArrayLike, *, fractions: Fractions, seed: int) -> dict[str, IndexArray]:
    """Return the rows of each part, drawn without regard to their source: the paper's protocol, to compare with.

    ``labels`` [n]: each label (the class, or the name of the attack) is divided in these shares by itself.
    Clean originals of test rows are then among the training rows, which flatters the detector. Fractions,
    result and errors as in `split_sources`.
    """
    labels = _vector(labels, "labels")
    shares = _shares(fractions)
    rng = np.random.default_rng(seed)
    strata = [_divide(np.flatnonzero(labels == label), shares, rng) for label in np.unique(labels)]
    parts = {part: np.sort(np.concatenate([stratum[part] for stratum in strata])) for part in shares}
    _check_filled(parts, shares, "rows")
    return parts


def source_groups(source: npt.ArrayLike) -> IndexArray:
    """Return the group 0 … g − 1 of each row, [n]: of its source image; each row of source −1 has its own."""
    source = _sources(source)
    ids, groups = np.unique(source, return_inverse=True)
    sourceless = source == -1
    groups[sourceless] = len(ids) + np.arange(sourceless.sum())
    return np.unique(groups, return_inverse=True)[1].astype(np.intp)


def _sources(source: npt.ArrayLike) -> IndexArray:
    array = _vector(source, "source")
    if array.dtype.kind not in "iu" or array.min() < -1:
        raise InputError(f"expected source of integers ≥ -1, got {array.dtype}, lowest {array.min()}")
    return array.astype(np.intp)


def _vector(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        raise InputError(f"expected {name} as a vector with one entry per row, got shape {array.shape}")
    return array


def _shares(fractions: Fractions) -> dict[str, float]:
    if not isinstance(fractions, Mapping):
        if len(fractions) != len(PARTS):
            raise OptionError(
                f"expected fractions as {len(PARTS)} numbers, for {', '.join(PARTS)}, or a mapping from names "
                f"to numbers, got {len(fractions)} numbers"
            )
        fractions = dict(zip(PARTS, fractions, strict=True))
    shares = dict(fractions)
    total = math.fsum(shares.values())
    if not shares or not all(share >= 0 for share in shares.values()) or not 0 < total <= 1 + 1e-9:
        raise OptionError(f"expected fractions ≥ 0 whose sum is above 0 and at most 1, got {shares}")
    return shares


def _divide(items: IndexArray, shares: dict[str, float], rng: np.random.Generator) -> dict[str, IndexArray]:
    bounds = np.round(np.cumsum([0.0, *shares.values()]) * len(items)).astype(int)
    shuffled = rng.permutation(items)
    return {part: shuffled[bounds[i] : bounds[i + 1]] for i, part in enumerate(shares)}


def _check_filled(parts: dict[str, IndexArray], shares: dict[str, float], what: str) -> None:
    empty = [part for part, share in shares.items() if share > 0 and not len(parts[part])]
    if empty:
        raise InputError(
            f"too few {what} for the parts {', '.join(empty)} at the fractions {shares}: "
            f"the parts would have { ({part: len(rows) for part, rows in parts.items()}) }; "
            f"give more {what} or larger fractions"
        )
