"""What every engine keeps: each task is run once, and whatever becomes of it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from effpath.class_paths.folder.engines import ATTEMPTS, Engine, Event, run_tasks
from effpath.errors import InputError
from engine_tasks import Trial


class EngineContract:
    """Tests that each engine inherits; ``made`` gives one, which is closed in the end."""

    @classmethod
    def made(cls) -> Engine:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Engine]:
        with closing(cls.made()) as engine:
            yield engine

    def test_each_task_is_run_once_and_tells_how_far_it_is(self, engine, tmp_path) -> None:
        tasks = [Trial(tmp_path / str(place)) for place in range(5)]
        events = list(engine.run(tasks))
        assert [task.tries() for task in tasks] == [1] * 5
        for place in range(5):
            own = [event for event in events if event.place == place]
            assert own == [Event(place, 1), Event(place, 2), Event(place, ended=True)]

    def test_no_tasks_are_no_events(self, engine) -> None:
        assert list(engine.run([])) == []

    def test_an_error_is_that_of_its_task_alone(self, engine, tmp_path) -> None:
        tasks = [Trial(tmp_path / "0", "raises"), Trial(tmp_path / "1", "unportable"), Trial(tmp_path / "2")]
        events = list(engine.run(tasks))
        errors = {event.place: event.error for event in events if event.error is not None}
        assert isinstance(errors[0], RuntimeError)
        assert "1 and 2" in str(errors[1])
        assert errors.keys() == {0, 1}
        assert Event(2, ended=True) in events

    def test_what_failed_is_tried_again_and_left_after_the_last_attempt(self, engine, tmp_path) -> None:
        tasks = [Trial(tmp_path / "0", "raises", 2), Trial(tmp_path / "1", "raises"), Trial(tmp_path / "2")]
        ended: list[int] = []
        errors = run_tasks(engine, tasks, ended=ended.append)
        assert [task.tries() for task in tasks] == [3, ATTEMPTS, 1]
        assert sorted(ended) == [0, 2]
        assert {place: str(error) for place, error in errors.items()} == {1: "failed"}

    def test_what_is_refused_on_purpose_is_not_tried_again(self, engine, tmp_path) -> None:
        task = Trial(tmp_path / "0", "refuses")
        with pytest.raises(InputError, match="refused"):
            run_tasks(engine, [task])
        assert task.tries() == 1
        after = Trial(tmp_path / "1")
        assert run_tasks(engine, [after]) == {}
        assert after.tries() == 1
