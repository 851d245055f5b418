"""Which rows are for what: splits disjoint by source image, what is held out, what a detector has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from effpath.errors import InputError, OptionError
from effpath.files.cache import fingerprint
from effpath.images import Images

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


def split_rows(count: int, *, fractions: Fractions, seed: int) -> dict[str, IndexArray]:
    """Return the rows of each part, ascending, of so many rows that share nothing; a part may be empty.

    Fractions and errors as in `split_sources`, from whose draws these are independent.
    """
    parts = _divide(np.arange(count), _shares(fractions), np.random.default_rng([seed, 2]))
    return {part: np.sort(rows) for part, rows in parts.items()}


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
    bounds = np.round(np.cumsum(list(shares.values())) * len(items)).astype(int)
    return dict(zip(shares, np.split(rng.permutation(items), bounds), strict=False))


def _check_filled(parts: dict[str, IndexArray], shares: dict[str, float], what: str) -> None:
    empty = [part for part, share in shares.items() if share > 0 and not len(parts[part])]
    if empty:
        raise InputError(
            f"too few {what} for the parts {', '.join(empty)} at the fractions {shares}: "
            f"the parts would have { ({part: len(rows) for part, rows in parts.items()}) }; "
            f"give more {what} or larger fractions"
        )


def hold_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Return the rows, ascending, of a share of each class that the seed draws; at least one image of each stays.

    Args:
        labels: int64 [N].
        share: in (0, 1), rounded for each class.
        seed: of the draw.

    Raises:
        OptionError: a share outside (0, 1).

    Example:
        >>> len(hold_out(torch.tensor([0] * 10 + [1] * 5), 0.2, seed=0))
        3
    """
    if not 0 < share < 1:
        raise OptionError(f"expected a share to hold out in (0, 1), such as 0.2, got {share!r}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    drawn = [order[:0]]
    for label in sorted(set(labels.tolist())):
        rows = order[labels[order] == label]
        drawn.append(rows[: min(round(share * len(rows)), len(rows) - 1)])
    return torch.cat(drawn).sort().values


def digest_of(images: Images, rows: Tensor) -> str:
    """Return a digest of the pixels of some images, which are read one by one."""
    return fingerprint([fingerprint(images[row : row + 1]) for row in rows.tolist()])


def drawn_rows(about: Mapping[str, Any]) -> Tensor:
    """Return the rows that were drawn when a detector was made, ascending."""
    return torch.tensor(sorted(row for rows in about["rows"].values() for row in rows), dtype=torch.int64)


def without_mistakes(about: Mapping[str, Any]) -> bool:
    """Return whether a threshold was fixed on images that the network gets right alone, as fitting did earlier.

    What it promises then holds for such images, and not for those that the network gets wrong.
    """
    return "rows" in about and "calibrated_mistakes" not in about


def unseen_rows(about: Mapping[str, Any], data: str, part: str, size: int) -> Tensor:
    """Return the rows of a part, ascending, that were not drawn when a detector was made.

    Args:
        about: the detector's.
        data, part, size: name of the data set, name of the part, number of its images.

    Raises:
        InputError: the detector was made from something else, or from all of it.
    """
    here = {"data": data, "part": part, "part_size": size}
    made = {name: about.get(name) for name in here}
    if here != made:
        raise InputError(
            f"expected the data that the detector was made from, to leave that out: {made}; got {here}"
        )
    rest = torch.zeros(size, dtype=torch.bool)
    rest[torch.tensor(about.get("held_out", range(size)), dtype=torch.int64)] = True
    rest[drawn_rows(about)] = False
    if not bool(rest.any()):
        raise InputError(f"the detector was made from all {size} images of {data} {part}; none is left")
    return rest.nonzero()[:, 0]


def unseen(about: Mapping[str, Any], data: str, part: str, images: Images) -> Tensor:
    """Return the rows of a part, ascending, that a detector was not made from, after a look at those that it was.

    Args:
        about: the detector's.
        data, part: names of the data set and the part.
        images: of the part, read with the detector's own seed; without damaged ones where it left them out.

    Raises:
        InputError: other data, another part, or other images in their place; or no image is left.
    """
    rows = unseen_rows(about, data, part, len(images))
    if digest_of(images, drawn_rows(about)) != about.get("digest"):
        raise InputError(
            f"expected the images that the detector was made from in {data} {part}, to leave them out, got others "
            "in their place: files were changed, added or renamed, or the data set is another of that name; name "
            "the same data, or fit the detector again"
        )
    return rows
