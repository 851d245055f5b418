"""What the demo prints is readable at 80 columns and whole in a pipe."""

from __future__ import annotations

import dataclasses
import math

import pytest

from demo_result import ALL, ATTACKS, PATHS, make_result
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
    assert row.split()[:5] == ["FGSM", "70/80", "0.500", "60", "0.9800"]


def test_in_a_pipe_a_row_is_a_line_and_no_sentence_is_broken() -> None:
    lines = show(RESULT, None).splitlines()
    assert not any(line.startswith("---") for line in lines)
    assert lines[-3].startswith("overall synapse density: ")
    assert any(
        line.startswith("clean images: ") and "of the test images; nine thresholds in ten" in line
        for line in lines
    )


def test_the_default_comes_first_and_what_was_not_learned_is_marked() -> None:
    shown = show(RESULT, 80)
    assert shown.index("What the standard detector finds:") < shown.index("\nstandard ") < shown.index("\nlinear ")
    assert "Random*" in shown
    assert "* no detector was trained on Random" in shown


def test_the_table_names_a_detector_whose_name_in_sentences_is_another() -> None:
    assert "What joint similarity finds (linear):" in show(make_result(), 80)


def test_of_flagged_images_the_signs_are_told_where_the_detector_has_any() -> None:
    assert "FGSM, zero taken for one: unsure; changes its mind after JPEG\n" in show(RESULT, 80)
    assert "taken for" not in show(make_result(detectors=PATHS), 80)


def test_too_few_images_for_a_threshold_are_said() -> None:
    assert "too few clean" not in show(RESULT, 80)
    none = dataclasses.replace(RESULT, threshold=dict.fromkeys(ALL, math.inf))
    assert "too few clean images to fix a threshold" in show(none, 80)
