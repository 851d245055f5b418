"""Figures are tested on LeNet-5, scikit-learn's digits and small forests, each file with a cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import digits_net
from detection import making as making_module
from effpath.detect.classifiers import CLASSIFIERS


def fewer_trees(made: Callable[[int], Any], seed: int) -> Any:
    return made(seed).set_params(n_estimators=20)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("EFFPATH_CACHE", str(folder))
        patch.setattr(making_module, "train_lenet", lambda data, seed: digits_net.model())
        for kind in ("forest", "boosting"):  # no test depends on the number of their trees
            patch.setitem(CLASSIFIERS, kind, partial(fewer_trees, CLASSIFIERS[kind]))
        yield folder
