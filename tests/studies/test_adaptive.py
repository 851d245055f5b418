"""The study of adaptive attacks on LeNet-5 and a few of scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import pytest

import adaptive
import digits_net

DESCENT = {"steps": 2}
ATTACKS = {
    "mimic": {**DESCENT, "layers": (1,), "mimics": 1},
    "selective_pgd": {**DESCENT, "restarts": 1},
    "black_box": {"steps": 1, "gradient_steps": 5},
}


@pytest.fixture(scope="module")
def table() -> dict:
    return adaptive.measure(
        digits_net.model(),
        digits_net.data(),
        adaptive.Trial(
            training={"FGSM": ("FGSM", {})}, attacks=ATTACKS, epsilons=(0.1, 0.3),
            detectors=("linear", "surprise", "forest"), sources=6, fitted=30, held_out=40, spared=500,
            per_class=20, guides=2, decided=4,
        ),
    )  # fmt: skip


def test_every_attack_has_a_curve_that_grows_on_every_detector(table) -> None:
    assert list(table["detectors"]) == list(table["thresholds"]) == ["linear", "surprise", "forest"]
    assert all(limits["sr50"] <= limits["sr5"] for limits in table["thresholds"].values())
    for rows in table["detectors"].values():
        assert list(rows) == [*ATTACKS, "all", "unaware"]
        for name in (*ATTACKS, "all"):
            curve = rows[name]["curve"]
            assert [point["epsilon"] for point in curve] == [0.1, 0.3]
            for key in ("sr5", "sr50", "misclassified"):
                assert curve[0][key] <= curve[1][key]
    assert table["detectors"]["linear"]["mimic"]["settings"]["layers"] == (1,)
    assert table["detectors"]["linear"]["black_box"]["attacked"] == 4


def test_all_is_at_least_as_good_as_each_attack_on_the_same_images(table) -> None:
    for rows in table["detectors"].values():
        for name in ("mimic", "selective_pgd"):
            for best, own in zip(rows["all"]["curve"], rows[name]["curve"], strict=True):
                assert best["sr5"] >= own["sr5"]
                assert best["sr50"] >= own["sr50"]


def test_the_parts_of_the_images_are_disjoint_and_as_large_as_asked_for(table) -> None:
    assert (table["attacked"], table["fitted"], table["held_out"], table["guides"]) == (6, 30, 40, 20)
    assert table["training"]["FGSM"]["tried"] == 30


def test_the_figure_shows_both_rates(table, tmp_path: Path) -> None:
    adaptive.draw({"digits": table}, tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text()
    assert drawn.startswith("<?xml")
    assert drawn.count("clip-path") > 10


def test_the_table_gives_the_best_attack_and_who_does_not_know_the_detector(table) -> None:
    lines = adaptive.tabulate(table).splitlines()
    assert lines[0] == "| ε · 255 | rate | 25.5 | 76.5 |"
    assert len(lines) == 2 + 3 * len(table["detectors"])
    best = table["detectors"]["linear"]["all"]["curve"]
    assert lines[2] == f"| linear | SR@5 | {best[0]['sr5']:.0%} | {best[1]['sr5']:.0%} |"
    assert lines[4].startswith("| linear | SR@5, unaware |")
