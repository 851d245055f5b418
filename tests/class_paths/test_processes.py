"""Processes keep what every engine does, with any of them killed; their store is that of one process."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import pytest

import tiny_store
from cli_run import run
from effpath.class_paths.folder.build import fill_store
from effpath.class_paths.folder.engines import ATTEMPTS, Engine, Processes, run_tasks
from effpath.errors import OptionError
from engine_contract import EngineContract
from engine_tasks import Trial
from tiny_store import OPTIONS, build, contents, graph, work


class TestProcesses(EngineContract):
    named = "processes"

    @classmethod
    def made(cls) -> Engine:
        return Processes(2)

    def test_a_process_that_dies_fails_its_task_alone_and_is_replaced(self, engine, tmp_path) -> None:
        tasks = [Trial(tmp_path / "0", "dies", 1), Trial(tmp_path / "1"), Trial(tmp_path / "2", "dies")]
        errors = run_tasks(engine, tasks)
        assert [task.tries() for task in tasks] == [2, 1, ATTEMPTS]
        assert {place: str(error).split(" (")[0] for place, error in errors.items()} == {
            2: "its process ended with exit code 7"
        }

    def test_the_processes_stay_for_the_next_tasks_and_end_with_the_engine(self, engine, tmp_path) -> None:
        pids = set()
        for time in range(2):
            tasks = [Trial(tmp_path / f"{time}{place}") for place in range(4)]
            list(engine.run(tasks))
            pids |= {int(line) for task in tasks for line in task.file.read_text().splitlines()}
        assert 1 <= len(pids) <= 2
        workers = [worker.process for worker in engine._idle]
        engine.close()
        assert not any(process.is_alive() for process in workers)

    def test_an_engine_of_no_process_is_refused(self) -> None:
        with pytest.raises(OptionError, match="expected at least 1 worker, got 0"):
            Processes(0)


def test_a_store_that_processes_build_has_the_bytes_of_one_that_this_process_builds(tmp_path) -> None:
    build(tmp_path / "inline")
    said: list[int] = []
    with closing(Processes(2)) as engine:
        fill_store(
            tmp_path / "processes", work(), OPTIONS, engine=engine, open_work=partial(work, graph().structure),
            progress=lambda done, total: said.append(done),
        )  # fmt: skip
    assert contents(tmp_path / "processes") == contents(tmp_path / "inline")
    assert said[-1] == max(said) == tiny_store.COUNT


def test_the_command_line_opens_network_and_images_in_each_process(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\ndef make():\n    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = [
        "profile",
        "net.py:make",
        "digits",
        "--input-size",
        "1,8,8",
        "--allow-missing",
        "--shard-size",
        99,
    ]
    for engine in (["-o", "inline"], ["--engine", "processes", "--workers", 2, "-o", "processes"]):
        code, _, err = run(monkeypatch, capsys, *arguments, *engine)
        assert code == 0, err
    assert contents(tmp_path / "processes") == contents(tmp_path / "inline")
