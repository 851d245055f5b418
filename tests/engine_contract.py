"""What every engine keeps: each task is run once, and whatever becomes of it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

import effpath
from effpath.class_paths.folder.engines import ATTEMPTS, Engine, Event, run_tasks
from effpath.errors import InputError
from engine_tasks import Asks, Noting, Trial
from tiny_store import DESCRIPTION, OPTIONS, build, contents, graph, images


class EngineContract:
    """Tests that each engine inherits; ``made`` gives one, closed in the end; ``named`` is its name, if any."""

    named: str | None = None

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

    def test_what_is_shared_is_opened_once_by_each_process_that_tasks_run_in(self, engine, tmp_path) -> None:
        for time in ("first", "second"):  # the processes of the first time do not know what is shared then
            noted = tmp_path / time
            noted.touch()
            shared = engine.share(Noting(noted))
            tasks = [Asks(tmp_path / f"{time}{place}", shared) for place in range(4)]
            assert run_tasks(engine, tasks) == {}
            for task in tasks:
                opened, asked = task.file.read_text().split()
                assert opened == asked
            pids = noted.read_text().split()
            assert len(pids) == len(set(pids))

    def test_build_store_takes_it_and_the_store_has_the_bytes_of_one_built_in_this_process(
        self, engine, tmp_path
    ) -> None:
        build(tmp_path / "here")
        effpath.build_store(
            tmp_path / "there", graph(), *images(),
            options=OPTIONS, description=DESCRIPTION, engine=self.named or engine,
        )  # fmt: skip
        assert contents(tmp_path / "there") == contents(tmp_path / "here")
