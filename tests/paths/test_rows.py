"""Ids of several images in one array."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.paths.rows import Ragged


@pytest.mark.parametrize("images", [0, 1, 5])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_rows_of_a_mask_are_the_ids_that_are_marked_in_each(images, share) -> None:
    mask = np.random.default_rng(images).random((images, 7)) < share
    if images > 2:
        mask[1] = False
    rows = Ragged.of_mask(mask)
    assert len(rows.offsets) == images + 1
    assert rows.values.dtype == rows.offsets.dtype == np.int64
    for image, marked in enumerate(mask):
        assert rows[image].tolist() == np.flatnonzero(marked).tolist()
