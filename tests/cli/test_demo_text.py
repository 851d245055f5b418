"""What the demo prints is readable at 80 columns and whole in a pipe."""

from __future__ import annotations

import dataclasses
import math

import pytest

from demo_result import ALL, ATTACKS, make_result
from effpath.cli.demo import show

RESULT = make_result(detectors=ALL)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_the_terminal_and_names_every_attack_and_detector(width: int) -> None:
    shown = show(RESULT, width)
    assert max(map(len, shown.splitlines())) <= width
    for name in (*ATTACKS, *ALL):
        assert name in shown
    assert "…" not in shown


def test_at_80_columns_each_table_is_in_one_piece() -> None:
    lines = show(RESULT, 80).splitlines()
    assert sum(line.startswith("attack ") for line in lines) == 1
    assert sum(line.startswith("detector ") for line in lines) == 1
    row = next(line for line in lines if line.startswith("FGSM "))
    assert row.split()[:5] == ["FGSM", "70/80", "0.500", "60", "0.9700"]


def test_in_a_pipe_a_row_is_a_line_and_no_sentence_is_broken() -> None:
    lines = show(RESULT, None).splitlines()
    assert not any(line.startswith("---") for line in lines)
    assert lines[-3].startswith("overall synapse density: ")
    assert any(line.startswith("clean images: ") and line.endswith("of the test images") for line in lines)


def test_joint_surprise_comes_first_and_what_was_not_learned_is_marked() -> None:
    shown = show(RESULT, 80)
    assert shown.index("What joint surprise finds") < shown.index("\nlinear ")
    assert "Random*" in shown
    assert "* no detector was trained on Random" in shown


def test_too_few_images_for_a_threshold_are_said() -> None:
    assert "too few clean" not in show(RESULT, 80)
    none = dataclasses.replace(RESULT, threshold=dict.fromkeys(ALL, math.inf))
    assert "too few clean images to fix a threshold" in show(none, 80)
