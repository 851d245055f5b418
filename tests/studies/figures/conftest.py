"""Figures are tested on LeNet-5, scikit-learn's digits and small forests, each file with a cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import digits_net
from detection import making as making_module
from detection.cases import Case, Planned
from detection.gather import Gathering
from detection.seen import Seen
from detection.signs import SIGNS
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


@pytest.fixture(scope="module")
def signs_seen(cache) -> Seen:
    """Paths and signs of sixty digits, of two attacks that are seen and one that is not, and of every control."""
    attacks = {
        "FGSM": Planned("FGSM", {"epsilons": 20}),
        "PGD": Planned("PGD", {"epsilon": 0.2, "steps": 5, "rel_stepsize": 0.3}),
        "Random": Planned("Random", unseen=True),
    }
    case = Case("digits", None, attacks, sources=60, clean=60, per_class=40, batch=64)
    return Gathering("signs", case, 0).seen((SIGNS,))
