"""Figures are tested on LeNet-5 and scikit-learn's digits, each file with a cache of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import digits_net
from detection import gather


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("EFFPATH_CACHE", str(folder))
        patch.setattr(gather, "train_lenet", lambda data, seed: digits_net.model())
        yield folder
