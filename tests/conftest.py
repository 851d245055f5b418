"""One thread (machines are shared), the same examples on every run, shared graphs, and which tests are slow."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, by libraries as they are loaded, here and in commands

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

import known_graphs
from effpath.graph import export
from effpath.graph.export import exported

SLOW = (  # files and folders that `make test` leaves to `make test-slow`
    "attacks/test_attacks.py", "attacks/test_confident.py", "attacks/test_saliency.py", "backends",
    "class_paths/test_bounded.py", "class_paths/test_folder_flips.py", "class_paths/test_killed.py",
    "class_paths/test_processes.py", "class_paths/test_ray.py", "cli/test_demo.py", "cli/test_memory.py",
    "cli/test_store.py",
    "graph/test_biased_products.py", "graph/test_products.py", "graph/test_simplify.py",
    "graph/test_structure.py", "masks/test_masked.py", "models/test_library.py", "report/test_browser.py",
    "rules/test_idioms.py", "rules/test_operators.py", "rules/test_padding.py", "rules/test_routes.py",
    "studies", "test_adaptive.py", "test_bench.py", "test_lenet.py", "test_recurrent.py",
    "views/test_browser.py", "walk/test_cost.py",
)  # fmt: skip

torch.set_num_threads(1)
settings.register_profile(
    "effpath", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=True
)
settings.load_profile("effpath")


def is_slow(path: Path) -> bool:
    return any(path.is_relative_to(Path(__file__).parent / name) for name in SLOW)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import only the files that `make test` or `make test-slow` runs tests of."""
    wanted = {"slow": True, "not slow": False}.get(config.option.markexpr)
    aside = collection_path.suffix == ".py" and wanted is not None and is_slow(collection_path) != wanted
    return aside or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests."""
    for item in items:
        if is_slow(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Export known networks once, with their structures where all processes of this run find them.

    Where the variable names a folder, as `.ci/run` does, several runs share it.
    """
    own = tmp_path_factory.getbasetemp()
    beside = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "graphs"
    folder = Path(os.environ.get(known_graphs.FOLDER, beside))
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(known_graphs.FOLDER, str(folder))
        patch.setattr(export, "exported", partial(known_graphs.exported_once, exported))
        if find_spec("pandas") is None:  # which an imputer looks for in every folder, for every array
            patch.setattr("sklearn.impute._base.is_pandas_na", lambda value: False, raising=False)
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let no test leave more threads to the next one: on busy processors they wait for one another."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def exported_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch.export run whenever a network is captured: what a test of captures needs."""
    monkeypatch.setattr(export, "exported", exported)
