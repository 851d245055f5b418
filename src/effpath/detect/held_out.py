"""Which images of a data set a detector was made from, and which of them it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from effpath.errors import InputError, OptionError
from effpath.files.cache import fingerprint
from effpath.images import Images


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
