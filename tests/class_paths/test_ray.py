"""Ray keeps what every engine does, with a worker or the driver killed; its store is that of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny_store
from cli_run import run
from effpath.class_paths.build import Work
from effpath.class_paths.folder.build import fill_store
from effpath.class_paths.folder.cluster import Ray
from effpath.class_paths.folder.engines import ATTEMPTS, Engine, run_tasks
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.verify import verify
from effpath.errors import ClassPathError, MissingExtraError, OptionError
from engine_contract import EngineContract
from engine_tasks import Trial
from tiny_store import COUNT, OPTIONS, build, contents, graph, work

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    """The cluster of all tests here, named as a user names one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - else its workers wait for the tests beside these
    settings = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 << 20}
    context = ray.init(address="local", **settings, log_to_driver=False, logging_level="error")
    yield context.address_info["gcs_address"]
    ray.shutdown()


@dataclass(frozen=True)
class Opened:
    """The work, opened by processes that note who they are."""

    file: Path
    structure: str | None  # of the graph, so that they need not capture it

    def __call__(self) -> Work:
        with self.file.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return work(self.structure)


class TestRay(EngineContract):
    named = "ray"

    @classmethod
    def made(cls) -> Engine:
        return Ray()

    def test_a_worker_that_dies_fails_its_task_alone_and_is_replaced(self, engine, tmp_path) -> None:
        tasks = [Trial(tmp_path / "0", "dies", 1), Trial(tmp_path / "1"), Trial(tmp_path / "2", "dies")]
        errors = run_tasks(engine, tasks)
        assert [task.tries() for task in tasks] == [2, 1, ATTEMPTS]
        assert {place: str(error).split(":")[0] for place, error in errors.items()} == {2: "its worker was lost"}

    def test_tasks_that_are_not_waited_for_are_cancelled(self, engine, tmp_path) -> None:
        tasks = [Trial(tmp_path / str(place)) for place in range(5)]
        with closing(engine.run(tasks)) as events:
            next(events)
        after = Trial(tmp_path / "after")
        assert run_tasks(engine, [after]) == {}


def fill(folder: Path, file: Path, progress=lambda done, total: None) -> None:
    with closing(Ray()) as engine:
        fill_store(
            folder, work(), OPTIONS, engine=engine, open_work=Opened(file, graph().structure), progress=progress
        )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    build(folder)
    return contents(folder)


def test_a_store_that_ray_builds_has_the_bytes_of_one_that_this_process_builds(tmp_path, undisturbed) -> None:
    said: list[int] = []
    fill(tmp_path / "store", tmp_path / "pids", lambda done, total: said.append(done))
    assert contents(tmp_path / "store") == undisturbed
    assert said[-1] == max(said) == COUNT


def test_a_worker_that_is_killed_is_replaced_and_nothing_counts_twice(tmp_path, undisturbed) -> None:
    file, killed = tmp_path / "pids", []

    def kill(done: int, total: int) -> None:
        if done >= 20 and not killed:
            killed.append(int(file.read_text().splitlines()[-1]))
            os.kill(killed[0], signal.SIGKILL)

    fill(tmp_path / "store", file, kill)
    assert killed
    assert contents(tmp_path / "store") == undisturbed


@dataclass(frozen=True)
class Failing(Opened):
    """The work, which no process can open."""

    def __call__(self) -> Work:
        raise RuntimeError("the disk is away")


def test_shards_that_fail_three_times_are_named_and_left(tmp_path, undisturbed) -> None:
    folder, file = tmp_path / "store", tmp_path / "pids"
    with (
        closing(Ray()) as engine,
        pytest.raises(ClassPathError, match=r"8 of 8 shards failed 3 times .*RuntimeError: the disk is away"),
    ):
        fill_store(folder, work(), OPTIONS, engine=engine, open_work=Failing(file, None))
    assert Store.open(folder).manifest.shards == {}
    fill(folder, file)
    assert contents(folder) == undisturbed


def test_a_driver_that_is_killed_loses_no_finished_shard_and_leaves_the_cluster(
    tmp_path, cluster, undisturbed
) -> None:
    folder = tmp_path / "store"
    paths = os.pathsep.join([str(Path(tiny_store.__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, tiny_store.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env={**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": cluster},
    ) as driver:  # fmt: skip
        assert driver.stdin is not None
        assert driver.stdout is not None
        starts = []
        for least in (20, COUNT + 1):  # images done when it is killed
            driver.stdin.write(f"ray {folder}\n")
            process = int(driver.stdout.readline().removeprefix("opened "))
            said = [driver.stdout.readline()]
            starts.append(int(said[0]))
            while not said[-1].startswith("exit"):
                if said[-1].strip().isdecimal() and int(said[-1]) >= least:
                    os.kill(process, signal.SIGKILL)
                said.append(driver.stdout.readline())
            assert verify(folder) == []
    assert said[-2:] == ["ended\n", "exit 0\n"]
    assert starts == sorted(starts)
    assert starts[-1] >= OPTIONS.shard_size
    assert contents(folder) == undisturbed
    assert ray.cluster_resources()["CPU"] == 2


def test_the_command_line_starts_a_cluster_of_its_own_and_ends_it(tmp_path, monkeypatch, capsys) -> None:
    called: list[tuple[object, ...]] = []
    for name, does in (
        ("is_initialized", lambda: False),
        ("init", lambda *address, **settings: called.append((*address, settings.get("num_cpus")))),
        ("shutdown", lambda: called.append(("shutdown",))),
    ):
        monkeypatch.setattr(ray, name, does)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    network = tmp_path / "net.py"
    network.write_text(
        "import torch\ndef make():\n    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()\n"
    )
    arguments = ["profile", "net.py:make", "digits", "--input-size", "1,8,8", "--allow-missing", "--per-class", 9]
    for engine in (["-o", "inline"], ["--engine", "ray", "--workers", 2, "-o", "ray"]):
        code, _, err = run(monkeypatch, capsys, *arguments, *engine)
        assert code == 0, err
    assert contents(tmp_path / "ray") == contents(tmp_path / "inline")
    assert (called[0], called[-1]) == (("local", 2), ("shutdown",))
    monkeypatch.setenv("RAY_ADDRESS", "ray://there:10001")
    code, _, err = run(monkeypatch, capsys, *arguments, "--engine", "ray", "-o", "other")
    assert code == 1
    assert "expected a RAY_ADDRESS such as auto or HOST:PORT, got ray://there:10001" in err


def test_an_engine_of_no_worker_is_refused() -> None:
    with pytest.raises(OptionError, match="expected at least 1 worker, got 0"):
        Ray(0)
    with pytest.raises(OptionError, match="gpus and retries of at least 0, got 0 and -1"):
        Ray(retries=-1)


def test_without_ray_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"the engine ray needs Ray.*pip install 'effpath\[ray\]'"):
        Ray()
