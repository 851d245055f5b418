"""Progress is a bar on a terminal, lines elsewhere, and nothing where it is not asked for."""

from __future__ import annotations

import io
import re
import sys

import pytest

from effpath.files import progress
from effpath.files.progress import track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the test sets itself."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_the_start_and_the_end_are_lines_on_standard_error(clock, capsys) -> None:
    with track("paths of 3 images") as report:
        report(1, 3)
        report(3, 3)
        clock[0] = 1.5
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "paths of 3 images: started\npaths of 3 images: 3/3 in 1.5 s\n"


def test_long_work_says_how_far_it_is_every_ten_seconds_or_every_minute(clock, capsys) -> None:
    with track("work") as report:
        for second in range(201):
            clock[0] = float(second)
            report(second, 200)
        for second in range(201, 402):
            clock[0] = float(second)
            report(second, 100_000)
    said = [int(done) for done in re.findall(r"work: (\d+)/\d+$", capsys.readouterr().err, re.MULTILINE)]
    assert said == [*range(20, 200, 20), 240, 300, 360]  # a tenth more each time, then a minute each


def test_a_unit_adds_how_many_are_done_per_second_and_the_time_left(clock, capsys) -> None:
    with track("paths", unit="images") as report:
        report(1000, 5000)  # done earlier: not part of the speed
        clock[0] = 20.0
        report(1500, 5000)
        clock[0] = 120.0
        report(1540, 5000)
        clock[0] = 200.0
        report(5000, 5000)
    assert capsys.readouterr().err.splitlines() == [
        "paths: started",
        "paths: 1500/5000, 25 images/s, 0:02:20 left",
        "paths: 1540/5000, 4.5 images/s, 0:12:49 left",
        "paths: 5000/5000 in 200.0 s, 20 images/s",
    ]


def test_nothing_to_do_has_no_speed(clock, capsys) -> None:
    with track("paths", unit="images") as report:
        report(5, 5)
        clock[0] = 1.0
    assert capsys.readouterr().err == "paths: started\npaths: 5/5 in 1.0 s\n"


def test_work_of_unknown_size_is_said_to_be_done(clock, capsys) -> None:
    with track("reading"):
        pass
    assert capsys.readouterr().err == "reading: started\nreading: done in 0.0 s\n"


def test_work_that_fails_is_not_said_to_be_finished(clock, capsys) -> None:
    def halfway() -> None:
        with track("work") as report:
            report(1, 2)
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        halfway()
    assert capsys.readouterr().err == "work: started\n"


def test_quiet_work_says_nothing(capsys) -> None:
    with track("work", quiet=True) as report:
        report(1, 1)
    assert capsys.readouterr() == ("", "")


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Put a terminal in the place of standard error; return what it shows."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return screen


def test_a_bar_with_a_unit_shows_the_speed_of_what_is_done_here(monkeypatch) -> None:
    screen, now = terminal(monkeypatch), [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with track("paths", unit="images") as report:
        report(1000, 5000)
        for second in range(1, 4):
            now[0] = float(second)
            report(1000 + 30 * second, 5000)
    assert "30 images/s" in screen.getvalue()
    assert "1090/5000" in screen.getvalue()


def test_a_terminal_shows_a_bar_and_keeps_brackets(monkeypatch) -> None:
    screen = terminal(monkeypatch)
    with track("paths of [red]cat.png") as report:
        report(2, 2)
    assert "paths of [red]cat.png" in screen.getvalue()
    assert "2/2" in screen.getvalue()
    assert "started" not in screen.getvalue()
