"""Fresh memory full of rubbish, so that a read of what was never written shows."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

M_PERTURB = -6  # of glibc's mallopt: fill what malloc returns


@pytest.fixture(params=[0x7F, 0xFE], ids=["large", "negative"])
def rubbish(request: pytest.FixtureRequest) -> Iterator[int]:
    """Every byte that malloc returns, to NumPy, torch and compiled loops alike, has one value."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        pytest.skip("fresh memory cannot be filled without glibc")
    library.mallopt(M_PERTURB, request.param ^ 0xFF)
    try:
        if not (np.empty(1 << 16, np.uint8) == request.param).all():
            pytest.skip("this machine's malloc does not fill fresh memory")
        yield request.param
    finally:
        library.mallopt(M_PERTURB, 0)
