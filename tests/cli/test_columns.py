"""Tables of the command line lose nothing, however narrow the terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from effpath.cli.output import filled, table

HEAD = ["attack", *(f"detector {letter}" for letter in "ABCDEFGH")]
ROWS = [[f"attack {row}", *(f"0.{row}{column}" for column in range(8))] for row in range(3)]


@pytest.mark.parametrize("width", [24, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_cell_is_lost(width: int) -> None:
    shown = table(HEAD, ROWS, width=width)
    assert max(map(cell_len, shown.splitlines())) <= width
    for cell in [*HEAD, *(cell for row in ROWS for cell in row)]:
        assert cell in shown
    assert "…" not in shown


def test_a_table_too_wide_is_shown_in_parts_that_name_their_rows() -> None:
    parts = table(HEAD, ROWS, width=60).split("\n\n")
    assert len(parts) > 1
    for part in parts:
        assert [line.split("  ")[0] for line in part.splitlines()[2:]] == ["attack 0", "attack 1", "attack 2"]


def test_in_a_pipe_each_row_is_one_line_without_a_frame() -> None:
    lines = table(HEAD, [*ROWS, ["x" * 300, *["1"] * 8]]).splitlines()
    assert len(lines) == 5
    assert lines[1].split() == ["attack", "0", *ROWS[0][1:]]
    assert lines[4].split() == ["x" * 300, *["1"] * 8]


def test_columns_are_aligned_by_what_is_seen() -> None:
    first, second = table(["name", "n"], [["狐狸", "1"], ["abcd", "22"]]).splitlines()[1:]
    assert cell_len(first) == cell_len(second)


def test_a_sentence_is_broken_between_words_on_a_terminal_only() -> None:
    sentence = "one two-three four"
    assert filled(sentence, 9) == "one\ntwo-three\nfour"
    assert filled(sentence, None) == sentence
