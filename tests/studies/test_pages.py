"""The pages that studies write: their tables are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import pages  # noqa: F401  gives every part
from detection.cases import CASES
from effpath.errors import InputError
from page_parts import TABLES, fill, markdown
from sources import read_result, written

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "detection.md"
RESULTS = ROOT / "docs" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_of_a_page_is_made_from_the_results(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert fill(text, RESULTS) == text


def test_every_table_is_shown_in_some_page_once_for_each_network() -> None:
    whole = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = re.findall(r"<!-- table (\w+(?: \w+)*) -->", whole)
    assert len(shown) == len(set(shown))
    assert {name.split()[0] for name in shown} == set(TABLES)


def test_a_number_that_is_written_by_hand_is_replaced() -> None:
    page = "before\n<!-- table won -->\n| 13 of 13 |\n<!-- end -->\nafter"
    filled = fill(page, RESULTS)
    assert "13 of 13 |\n<!--" not in filled
    assert filled.startswith("before\n<!-- table won -->\n| network |")
    assert filled.endswith("<!-- end -->\nafter")
    with pytest.raises(InputError, match="unknown table 'magic'"):
        fill("<!-- table magic -->\n<!-- end -->", RESULTS)


def test_every_result_names_its_command_and_a_case() -> None:
    files = sorted((RESULTS / "detection").glob("*/*.json"))
    assert files
    for file in files:
        found = read_result(file)
        assert found["command"].startswith("python studies/"), file
        assert "$EFFPATH_DATA" in found["command"] or "=/" not in found["command"]
        assert any(file.stem.startswith(name) for name in CASES), file


def test_every_picture_of_the_page_is_there_and_small() -> None:
    page = PAGE.read_text(encoding="utf-8")
    pictures = re.findall(r"\((results/[^)]+\.(?:png|svg))\)", page)
    assert len(pictures) >= 9
    for picture in pictures:
        assert 1000 < (PAGE.parent / picture).stat().st_size < 300_000, picture


def test_a_table_has_a_line_for_each_row() -> None:
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_result_is_json_with_short_lists_on_a_line() -> None:
    table = {"a": [1, 2.5, None], "b": {"c": [[1, 2], {"d": "é"}], "e": {}}, "f": [], "g": True}
    text = written(table)
    assert json.loads(text) == table
    assert ' "a": [1, 2.5, null],' in text.splitlines()
