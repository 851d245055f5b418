"""Engines by name; small work stays in this process, and processes take over what is larger."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

import effpath
from effpath.class_paths.folder.choice import ENGINES, Gradual, engine_named, processors
from effpath.class_paths.folder.engines import ATTEMPTS, Engine, Event, Inline, Processes, run_tasks
from effpath.cli.work import parse_engine
from effpath.errors import OptionError
from engine_contract import EngineContract
from engine_tasks import Trial
from tiny_store import DESCRIPTION, OPTIONS, graph, images


class TestGradualAlone(EngineContract):
    @classmethod
    def made(cls) -> Engine:
        return Gradual(2, alone=600)

    def test_small_work_starts_no_process(self, engine, tmp_path) -> None:
        tasks = [Trial(tmp_path / str(place)) for place in range(3)]
        list(engine.run(tasks))
        assert {task.file.read_text() for task in tasks} == {f"{os.getpid()}\n"}


class TestGradualTogether(EngineContract):
    @classmethod
    def made(cls) -> Engine:
        engine = Gradual(2, alone=-1)
        engine._pays(2)
        return engine

    def test_a_task_that_kills_its_process_does_not_come_back_to_this_one(self, engine, tmp_path) -> None:
        task = Trial(tmp_path / "0", "dies", 1)
        assert run_tasks(engine, [task]) == {}
        assert task.tries() == 2


def test_processes_take_over_and_begin_again_what_was_under_way(tmp_path) -> None:
    tasks = [Trial(tmp_path / str(place)) for place in range(4)]
    with closing(Gradual(2, alone=0)) as engine:
        events = list(engine.run(tasks))
    assert [task.tries() for task in tasks] == [2, 1, 1, 1]
    assert sorted(each.place for each in events if each.ended) == [0, 1, 2, 3]
    assert events[0] == Event(0, 1)
    pids = [int(line) for task in tasks for line in task.file.read_text().splitlines()]
    assert pids[0] == os.getpid()
    assert os.getpid() not in pids[1:]


@pytest.mark.parametrize(("workers", "count"), [(1, 3), (2, 1)])
def test_one_processor_or_one_task_needs_no_other_process(tmp_path, workers, count) -> None:
    tasks = [Trial(tmp_path / str(place)) for place in range(count)]
    with closing(Gradual(workers, alone=0)) as engine:
        assert run_tasks(engine, tasks) == {}
    assert {task.file.read_text() for task in tasks} == {f"{os.getpid()}\n"}


def test_what_fails_in_this_process_is_tried_again_like_everything(tmp_path) -> None:
    tasks = [Trial(tmp_path / "0", "raises"), Trial(tmp_path / "1")]
    with closing(Gradual(2, alone=600)) as engine:
        errors = run_tasks(engine, tasks)
    assert [task.tries() for task in tasks] == [ATTEMPTS, 1]
    assert errors.keys() == {0}


def test_an_engine_has_a_name() -> None:
    assert isinstance(engine_named("inline"), Inline)
    found = engine_named("processes")
    assert isinstance(found, Processes)
    assert found.workers == processors()
    with pytest.raises(OptionError, match="expected at least 1 worker, got 0"):
        engine_named("processes", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cluster",), "expected an engine inline, processes or ray, got 'cluster'"),
        (("inline", 2), "expected no workers with the engine inline"),
        (
            ("processes", 2, 1.0),
            "expected gpus with the engine ray, .*, got the engine processes",
        ),
    ],
)
def test_what_no_engine_is_or_has_is_refused(arguments, message) -> None:
    with pytest.raises(OptionError, match=message):
        engine_named(*arguments)


def test_gpus_and_workers_are_those_of_ray() -> None:
    pytest.importorskip("ray")
    for engine in (engine_named("ray", 3, 0.5), parse_engine("ray", 3, 0.5)):
        assert (engine.workers, engine.gpus) == (3, 0.5)


def test_the_command_line_takes_processes_where_they_pay() -> None:
    engine = parse_engine(None, None, 0)
    assert isinstance(engine, Gradual)
    assert engine.workers == processors()
    assert parse_engine(None, 3, 0).workers == 3
    assert [type(parse_engine(name, None, 0)) for name in ENGINES[:2]] == [Inline, Processes]


def test_an_engine_has_its_own_workers_and_gpus_and_stays_open(tmp_path) -> None:
    arguments = tmp_path / "store", graph(), *images()
    with closing(Processes(2)) as engine:
        for more in ({"workers": 2}, {"gpus": 1}):
            with pytest.raises(OptionError, match="expected workers and gpus with the name of an engine, got"):
                effpath.build_store(*arguments, engine=engine, **more)
        effpath.build_store(*arguments, options=OPTIONS, description=DESCRIPTION, engine=engine)
        assert engine._idle


def test_images_that_cannot_be_given_to_other_processes_are_refused() -> None:
    with closing(Processes(2)) as engine, pytest.raises(OptionError, match=r"cannot be pickled .*engine inline"):
        engine.share(lambda: None)
