"""The pages that studies write: their tables are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import inside
import pages  # noqa: F401  gives every part
from detection.cases import CASES
from effpath.detect.signs.profiles import PROFILES
from effpath.errors import InputError
from figures import FIGURES
from page_parts import TABLES, fill, judged_before, markdown, results_of
from sources import read_result, write_result, written

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"
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


def test_the_readme_marks_what_is_ahead_of_the_default_and_rows_of_few_images() -> None:
    rows = TABLES["networks_at_a_glance"](RESULTS).splitlines()[2:]
    found = results_of(RESULTS, "profiles")
    assert len(rows) == len(found)
    for row, table in zip(rows, found.values(), strict=True):
        cells = row.split(" | ")
        behind = table["beyond_best_rival"]["standard"][2] < 0
        assert cells[3].startswith("**") == behind
        for said, kind in zip(cells[5].split(", "), ("sharp", "smooth"), strict=True):
            attack = table["attacks"][f"Patch {kind}"]
            assert said.endswith("*") == (attack["succeeded"] < 50)
            assert float(said.rstrip("\\*")) == round(table["cells"][f"Patch {kind}"]["auc"][0], 3)


def test_the_readme_takes_the_strongest_attack_where_each_has_a_result_of_its_own() -> None:
    *_, row = TABLES["adaptive_at_a_glance"](RESULTS).splitlines()
    files = (RESULTS / "adaptive" / "alexnet_imagenette_standard").glob("*.json")
    curves = [read_result(file)["detectors"]["standard"]["all"]["curve"] for file in files]
    assert len(curves) == 5
    strongest = [max(point["sr5"] for point in points) for points in zip(*curves, strict=True)]
    assert row.split(" | ")[3] == ", ".join(f"{100 * rate:.0f}" for rate in strongest) + " %"


def test_a_dagger_marks_networks_whose_default_was_judged_with_other_signs(tmp_path) -> None:
    folder = tmp_path / "detection" / "profiles"
    folder.mkdir(parents=True)
    for name in ("lenet_digits", "lenet_mnist"):
        table = read_result(RESULTS / "detection" / "profiles" / f"{name}.json")
        table["signs"]["standard"] = [sign.name for sign in PROFILES["standard"].signs]
        if name == "lenet_mnist":
            table["signs"]["standard"].pop()
        write_result(table, folder / f"{name}.json")
    assert judged_before(tmp_path) == {"lenet_mnist"}
    for part, names in (
        ("networks_at_a_glance", ["LeNet-5, scikit-learn's digits", "LeNet-5, MNIST †"]),
        ("standard", ["lenet_digits", "lenet_mnist †"]),
    ):
        rows = TABLES[part](tmp_path).splitlines()[2:]
        assert list(dict.fromkeys(row.split(" | ")[0].removeprefix("| ") for row in rows)) == names


def test_a_number_that_is_written_by_hand_is_replaced() -> None:
    page = "before\n<!-- table won -->\n| 13 of 13 |\n<!-- end -->\nafter"
    filled = fill(page, RESULTS)
    assert "13 of 13 |\n<!--" not in filled
    assert filled.startswith("before\n<!-- table won -->\n| network |")
    assert filled.endswith("<!-- end -->\nafter")
    with pytest.raises(InputError, match="unknown table 'magic'"):
        fill("<!-- table magic -->\n<!-- end -->", RESULTS)


def test_every_result_names_its_command_and_a_case() -> None:
    files = [file for page in ("detection", "inside") for file in sorted((RESULTS / page).glob("*/*.json"))]
    assert files
    for file in files:
        found = read_result(file)
        assert found["command"].startswith("python studies/"), file
        assert "$EFFPATH_DATA" in found["command"] or "=/" not in found["command"]
        assert any(file.stem.startswith(name) for name in CASES), file


@pytest.mark.parametrize(("name", "count"), [("detection", 9), ("inside", 4)])
def test_every_picture_of_a_page_is_there_and_small(name, count) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\((results/[^)]+\.(?:png|svg))\)", page)
    assert len(pictures) >= count
    for picture in pictures:
        assert 1000 < (DOCS / picture).stat().st_size < 300_000, picture


def test_a_table_has_a_line_for_each_row() -> None:
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_result_is_json_with_short_lists_on_a_line() -> None:
    table = {"a": [1, 2.5, None], "b": {"c": [[1, 2], {"d": "é"}], "e": {}}, "f": [], "g": True}
    text = written(table)
    assert json.loads(text) == table
    assert ' "a": [1, 2.5, null],' in text.splitlines()


# ---------------------------------------------------------------- inside


def test_every_figure_inside_a_network_says_what_to_see() -> None:
    page = (DOCS / "inside.md").read_text(encoding="utf-8")
    for study, figure in FIGURES.items():
        if figure.page == "inside":
            for network, table in results_of(RESULTS, study).items():
                assert f"(results/inside/{study}/{network}.svg)\n\n*{network}*: {figure.sentence(table)}\n" in page
                for panel in figure.panels({network: table}):
                    assert panel.title
                    assert "n = " in panel.title or "mean over" in panel.title
                    assert {"xlabel", "ylabel"} <= set(panel.axes)


def test_what_was_not_measured_is_said_with_the_command_that_measures_it(tmp_path) -> None:
    lines = inside.beside_the_paper(tmp_path).splitlines()[2:]
    assert len(lines) == len(inside.CLAIMS)
    for claim, line in zip(inside.CLAIMS, lines, strict=True):
        assert "| not measured | – |" in line
        page = FIGURES[claim.study].page
        assert f"--study {claim.study} --case {claim.case} --output docs/results/{page}`" in line
        assert claim.case in CASES
    figures = {figure for claim in inside.CLAIMS for figure in claim.figure.split(", ")}
    assert figures == {"2", "3", "5", "13", "14", "15", "21", "22", "23", "Sec. 2.2"}


def similar(mean: float, special: str, least: float, closest: list[str]) -> dict:
    row = {"mean": mean, "most_special": special, "class_means": [0.5, least], "closest": closest}
    return {"presets": {"default": row}}


def test_what_is_near_the_paper_agrees_and_what_is_not_says_so() -> None:
    near, far = similar(0.52, "1", 0.36, ["8", "5"]), similar(0.3, "7", 0.2, ["4", "9"])
    assert inside.mean_agrees(near) == inside.closest_agrees(near) == "agrees"
    assert inside.special_agrees(near).startswith("the same digit, +0.010;")
    assert inside.mean_agrees(far).startswith("-0.200;")
    assert inside.closest_agrees(far) == "another pair"
    assert inside.special_agrees(far).startswith("another digit, -0.150;")


def test_a_drop_counts_from_the_share_where_intervals_part() -> None:
    whole = [0.9, 0.88, 0.92]
    table = {
        "level": "weights", "shares": [0.1, 0.5], "whole": whole,
        "accuracy": {
            "the path": [[0.89, 0.87, 0.91], [0.5, 0.4, 0.6]],
            "the path, most used first": [[0.7, 0.6, 0.75], [0.2, 0.1, 0.3]],
            "outside the path": [whole, [0.85, 0.8, 0.9]],
            "the whole layer": [whole, [0.7, 0.61, 0.8]],
        },
    }  # fmt: skip
    assert inside.drop_agrees(table) == (
        "below both random controls beyond chance, the most used first: from 10 % on, "
        "drawn at random: from 50 % on"
    )
    table["accuracy"]["the whole layer"][1] = [0.7, 0.55, 0.8]
    assert inside.drop_agrees(table).endswith("drawn at random: never")
    assert "10 % off: the path 0.890" in inside.dropped(table)
