"""The study of adaptive attacks on LeNet-5 and a few of scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import adaptive
import adaptive_page
import adaptive_patch
import digits_net
from effpath.adaptive import PatchSettings
from sources import write_result

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
    assert all(rates["sr5"] <= 0.05 and rates["sr50"] <= 0.5 for rates in table["false_positives"].values())
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


def test_a_paired_detector_is_attacked_through_both_networks() -> None:
    found = adaptive.measure(
        digits_net.model(),
        digits_net.data(),
        adaptive.Trial(
            training={"FGSM": ("FGSM", {})}, attacks={"surrogate": {"steps": 5}}, epsilons=(0.3,),
            detectors=("paired",), sources=10, fitted=40, held_out=40, spared=500, per_class=60, guides=2,
        ),
    )  # fmt: skip
    (row,) = found["detectors"]["paired"]["surrogate"]["curve"]
    assert row["misclassified"] >= row["sr5"] >= row["sr50"] >= 0
    assert row["misclassified"] > 0.5
    assert found["false_positives"]["paired"]["sr5"] <= 0.05


def test_the_parts_of_the_images_are_disjoint_and_as_large_as_asked_for(table) -> None:
    assert (table["attacked"], table["fitted"], table["held_out"], table["guides"]) == (6, 30, 40, 20)
    assert table["training"]["FGSM"]["tried"] == 30


def test_the_figure_shows_both_rates(table, tmp_path: Path) -> None:
    adaptive_page.draw({"digits": table}, tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text()
    assert drawn.startswith("<?xml")
    assert drawn.count("clip-path") > 10


def test_the_table_gives_the_best_attack_and_who_does_not_know_the_detector(table) -> None:
    lines = adaptive_page.tabulate(table).splitlines()
    assert lines[0] == "| ε · 255 | rate | 25.5 | 76.5 |"
    assert len(lines) == 2 + 3 * len(table["detectors"])
    best = table["detectors"]["linear"]["all"]["curve"]
    assert lines[2] == f"| linear | SR@5 | {best[0]['sr5']:.0%} | {best[1]['sr5']:.0%} |"
    assert lines[4].startswith("| linear | SR@5, unaware |")


def test_attacks_with_results_of_their_own_stand_in_one_table_with_the_strongest(table, tmp_path: Path) -> None:
    folder = tmp_path / "adaptive" / "digits"
    for name in ("mimic", "selective_pgd"):
        write_result(table, folder / f"{name}.json")
    lines = adaptive_page.attacked_apart(tmp_path, "digits").splitlines()
    rows = table["detectors"]["linear"]
    rates = {
        name: [point["sr5"] for point in rows[name]["curve"]] for name in ("mimic", "selective_pgd", "unaware")
    }
    rates["the strongest"] = [max(pair) for pair in zip(rates["mimic"], rates["selective_pgd"], strict=True)]
    for name, row in rates.items():
        assert f"| linear | SR@5 | {name} | {row[0]:.0%} | {row[1]:.0%} |" in lines
    assert len(lines) == 2 + 7 * len(table["detectors"])


def test_finished_attacks_are_kept_so_that_a_killed_run_goes_on(tmp_path: Path, monkeypatch) -> None:
    trial = adaptive.Trial(
        training={"FGSM": ("FGSM", {})}, attacks={name: ATTACKS[name] for name in ("mimic", "black_box")},
        epsilons=(0.1, 0.3), detectors=("softmax",), sources=4, fitted=30,
        held_out=40, spared=500, per_class=20, guides=2, decided=2,
    )  # fmt: skip
    whole, made = adaptive.adaptive_curve, []

    def killed(victim, images, labels, name, **others):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(name)
        return whole(victim, images, labels, name, **others)

    monkeypatch.setattr(adaptive, "adaptive_curve", killed)
    with pytest.raises(KeyboardInterrupt):
        adaptive.measure(digits_net.model(), digits_net.data(), trial, tmp_path)
    assert made == ["mimic", "black_box"]  # the black box once more, at 50 %, was under way

    def counted(victim, images, labels, name, **others):
        made.append(name)
        return whole(victim, images, labels, name, **others)

    monkeypatch.setattr(adaptive, "adaptive_curve", counted)
    first = adaptive.measure(digits_net.model(), digits_net.data(), trial, tmp_path)
    assert made[2:] == ["black_box"]
    again = adaptive.measure(digits_net.model(), digits_net.data(), trial, tmp_path)
    assert again == first
    assert len(made) == 3
    alone = adaptive.measure(digits_net.model(), digits_net.data(), trial)
    for kind, rows in alone["detectors"].items():
        for name, row in rows.items():
            assert row["curve"] == first["detectors"][kind][name]["curve"]


def test_a_detector_is_known_on_another_device_and_not_where_its_scores_are_others() -> None:
    scores = np.array([0.1234, 2.7182, 11.0004])
    np.testing.assert_array_equal(adaptive.told_apart(scores), adaptive.told_apart(scores * (1 + 1e-6)))
    assert (adaptive.told_apart(scores) != adaptive.told_apart(scores + 0.01)).all()


def test_softmax_reads_the_log_odds_alone_without_a_walk() -> None:
    assert adaptive.SOFTMAX.walks == 0
    graph, images = digits_net.graph(), digits_net.data().test_images
    detector = adaptive.Detector(graph, digits_net.class_paths(), kind=adaptive.kind_of("softmax"))
    detector.fit(images[:100]).calibrate(images[100:200])
    columns = detector.read(detector.features(images[:5]))
    logits = digits_net.model()(images[:5]).detach().double()
    odds = (logits.amax(1) - logits.topk(10).values[:, 1:].logsumexp(1)).numpy()
    assert columns == pytest.approx(np.stack([-odds, odds], 1), rel=1e-5)


def test_patches_are_judged_on_each_detector_on_images_that_they_were_not_trained_on() -> None:
    data = digits_net.data()
    trial = adaptive.Trial(
        training={}, attacks={}, epsilons=(0.1,), detectors=("fast", "softmax"), sources=20, fitted=30,
        held_out=40, spared=100, per_class=20, guides=2,
    )  # fmt: skip
    ground = adaptive.prepared(digits_net.model(), data, trial, None)
    learned = adaptive.Part(data.train_images[:30], data.train_labels[:30])
    settings = PatchSettings(steps=4, judge_every=2, draws=4)
    table = adaptive_patch.measure(ground, learned, ("fast", "softmax"), 2, settings)
    assert list(table["detectors"]) == ["fast", "softmax"]
    assert len(set(table["targets"])) == 2
    for rows in table["detectors"].values():
        for name in ("unaware", "aware"):
            assert rows[name]["sr50"] <= rows[name]["sr5"] <= rows[name]["misclassified"]
            assert len(rows["by_target"][name]) == 2
    blind = [rows["unaware"]["misclassified"] for rows in table["detectors"].values()]
    assert blind[0] == blind[1]  # the same patch
    lines = adaptive_patch.tabulate(table).splitlines()
    assert lines[0] == "| detector | patch | misclassified | SR@5 | SR@50 |"
    assert len(lines) == 2 + 2 * 2
