"""What a yardstick must do: patches apart from their images, images that can be saved, cells counted fairly."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import adaptive
import adaptive_page
import digits_net
from detection import gather
from detection import judge as judge_module
from detection import making as making_module
from detection.cases import CASES, FLOAT, Case, Planned, named, planned, published
from detection.contest import LEVEL, contest, counted, holm, kind_of, p_value
from detection.judge import Protocol, Resampled, draws_of, judge, patch_draws
from detection.minimal import minimal, searches
from detection.page import counts, flagged, marks, rules, summed, titled, won
from detection.patches import SQUARES, with_squares
from detection.seen import MISTAKES, Seen
from effpath.attacks import ATTACKS, attack
from effpath.attacks.saving import rounded
from effpath.errors import OptionError
from figures import controls, detectors
from figures.further_signs import PATHLESS, WEIGHED

PATCHED = {"scale": 0.6, "steps": 120}
HASTY = {"steps": 10, "binary_search_steps": 1, "initial_const": 100.0, "stepsize": 0.3, "abort_early": False}
CASE = Case(
    "digits", None,
    {
        "FGSM": Planned("FGSM", {"epsilons": 50}),
        f"FGSM{FLOAT}": Planned("FGSM", {"epsilons": 50}, unseen=True, floats=True),
        "DeepFool": Planned("DeepFool"),
        "CWL2": Planned("CWL2", HASTY),
        "Patch sharp": Planned("Patch", PATCHED, unseen=True, patches=3),
        "Patch smooth": Planned("Patch", {**PATCHED, "cells": 2}, unseen=True, patches=3),
    },
    sources=90, clean=120, per_class=30, batch=64, gates=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def making(tmp_path_factory) -> Iterator[making_module.Making]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFPATH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(making_module, "train_lenet", lambda data, seed: digits_net.model())
        yield making_module.Making(CASE, 0)


@pytest.fixture(scope="module")
def seen(making) -> Seen:
    return gather.gather("yardstick", CASE, others=("log odds",))


@pytest.fixture(scope="module")
def judged(seen) -> Resampled:
    return judge(seen, Protocol(("surprise",), unseen=seen.unseen))


# ---------------------------------------------------------------- patches


def test_every_network_has_eight_patches_of_each_kind_for_targets_of_their_own() -> None:
    for name, case in CASES.items():
        if name != "resnet50_paper":  # the paper's minimal attacks alone
            kinds = [each for each in case.attacks.values() if each.attack == "Patch"]
            assert [each.patches for each in kinds] == [8, 8]
            assert [each.settings.get("cells", 0) > 0 for each in kinds] == [False, True]
            assert all(each.unseen for each in kinds)


@pytest.mark.parametrize("row", ["Patch sharp", "Patch smooth"])
def test_patches_differ_in_target_and_shape_and_each_image_has_one_that_never_saw_it(row, making) -> None:
    groups, _, about = making.made
    patches = about["attacks"][row]["patches"]
    assert len({patch["target"] for patch in patches}) == len(patches) == 3
    assert [patch["shape"] for patch in patches] == ["square", "round", "square"]
    group = groups[row]
    assert len(group.source) == sum(patch["succeeded"] for patch in patches) == about["attacks"][row]["succeeded"]
    with torch.no_grad():
        predicted = digits_net.model()(group.images).argmax(1).numpy()
    np.testing.assert_array_equal(predicted, [patches[number]["target"] for number in group.clusters])
    assert (group.labels != predicted).all()
    assert len(set(group.source)) == len(group.source)  # each image is given to one patch
    trained = {image.numpy().tobytes() for image in rounded(making.known.images[:])}
    attacked = {image.numpy().tobytes() for image in groups["clean"].images[group.source]}
    assert not trained & attacked


def test_the_target_class_is_not_attacked_and_the_others_are_dealt_out(making) -> None:
    _, _, about = making.made
    labels = making.chosen[0].labels[making.chosen[1].numpy()]
    for number, patch in enumerate(about["attacks"]["Patch sharp"]["patches"]):
        assert patch["tried"] == int((labels[number::3] != patch["target"]).sum())


def test_patches_are_trained_once(making, monkeypatch) -> None:
    made = making.made[0]["Patch sharp"].images
    monkeypatch.setattr("detection.patches.train_patch", lambda *a, **k: pytest.fail("trained again"))
    again = making_module.Making(CASE, 0)
    found, _, _ = again.attack(CASE.attacks["Patch sharp"])
    assert torch.equal(found.fooling, made)


def test_patches_of_others_are_pasted_from_a_folder_and_left_out_without_one(
    making, monkeypatch, tmp_path
) -> None:
    monkeypatch.delenv("EFFPATH_PATCHES", raising=False)
    assert published() == {}
    monkeypatch.setenv("EFFPATH_PATCHES", str(tmp_path))
    assert published() == {}  # an empty folder
    monkeypatch.setenv("EFFPATH_PATCHES", str(tmp_path / "none"))
    with pytest.raises(OptionError, match=r"expected a folder of patches, got .*none"):
        published()
    monkeypatch.setenv("EFFPATH_PATCHES", str(tmp_path))
    rng = np.random.default_rng(0)
    np.save(tmp_path / "b.npy", rng.random((1, 5, 5)).astype(np.float32))
    Image.fromarray(rng.integers(0, 256, (5, 5), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "README.txt").write_text("")
    (row,) = published().values()
    assert (row.attack, row.patches, row.unseen) == ("PatchFile", 2, True)
    made, rows, about = making.attack(row)
    assert [patch["file"] for patch in about["patches"]] == ["a.png", "b.npy"]
    assert [patch["tried"] for patch in about["patches"]] == [45, 45]
    assert sorted(rows.tolist()) == sorted(making.chosen[1].tolist())
    assert str(tmp_path) not in json.dumps([dict(made.settings), about])
    changed = (made.images != making.chosen[0].images[rows[made.source]]).flatten(1).sum(1)
    assert changed.max() <= 25  # of a square of 4 × 4, turned
    assert made.successes == (changed > 0).sum() > 0


def test_intervals_of_patches_are_over_patches(seen, judged) -> None:
    group = seen.groups["Patch sharp"]
    drawn = patch_draws(group)
    np.testing.assert_array_equal(drawn[:, 0], 1)
    for number in set(group.clusters):
        assert (drawn[group.clusters == number] == drawn[group.clusters == number][:1]).all()
    np.testing.assert_array_equal(patch_draws(seen.groups["FGSM"]), 1)
    plain = draws_of(replace(group, clusters=None), 120)
    np.testing.assert_array_equal(draws_of(group, 120), plain * drawn)


def test_harmless_squares_are_as_large_and_harmless(making, seen) -> None:
    for kind in SQUARES:
        control = seen.controls[f"square of {kind}"]
        np.testing.assert_array_equal(
            control.features.classes[:, 0], seen.groups["clean"].features.classes[control.source, 0]
        )
    images = making.made[0]["clean"].images[:8]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    made = {kind: with_squares(images, kind, 0.5, 0.0, seed=1) for kind in SQUARES}
    assert torch.equal(torch.get_rng_state(), before)
    for kind, squares in made.items():
        assert torch.equal(squares, with_squares(images, kind, 0.5, 0.0, seed=1))
        changed = (squares != images).flatten(2).sum(2)
        assert 1 <= changed.min() <= changed.max() <= 16  # of a square of 4 × 4, or the disc in it

    def energy(squares: torch.Tensor) -> float:
        return float(squares.diff(dim=2).square().sum() + squares.diff(dim=3).square().sum())

    assert energy(made["smooth colour"]) < energy(made["noise"])


def test_rivals_measure_the_controls_and_are_judged_on_them(seen) -> None:
    assert all(set(control.arrays) == {"log odds"} for control in seen.controls.values())
    found = controls.measure(seen)["detectors"]["log odds, both sides"]["flagged"]
    assert set(found) == {"clean", *seen.controls}
    assert all(0 <= value <= 1 for value, _, _ in found.values())


# ---------------------------------------------------------------- images that can be saved


def test_every_image_can_be_saved_but_those_that_are_named_floats(making) -> None:
    groups, controls, about = making.made
    for name, group in {**groups, **controls}.items():
        exact = torch.equal(group.images, rounded(group.images))
        assert exact != name.endswith(FLOAT), name
    assert about["attacks"][f"FGSM{FLOAT}"]["floats"]
    with torch.no_grad():
        fooled = digits_net.model()(groups["DeepFool"].images).argmax(1).numpy() != groups["DeepFool"].labels
    assert fooled.all()


def test_what_fools_a_network_elsewhere_counts_only_where_it_fools_it_here(making) -> None:
    """As on a GPU, whose logits differ in their last bits."""
    clean, rows, _, _ = making.chosen
    elsewhere = copy.deepcopy(digits_net.model())
    with torch.no_grad():
        for parameter in elsewhere.parameters():
            parameter.mul_(1 + 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    labels = torch.from_numpy(clean.labels)[rows]
    for name in ("FGSM", "Random"):
        made = attack(elsewhere, clean.images[rows], labels, name)
        found = making_module.confirmed(digits_net.model(), made, 32)
        with torch.no_grad():
            predicted = digits_net.model()(made.images).argmax(1)
        wanted = made.succeeded & (predicted != made.labels)
        assert torch.equal(found.succeeded, wanted)
        assert torch.equal(found.predicted, predicted)
        assert 0 < found.successes <= made.successes
        assert (found.successes < made.successes) == (name == "FGSM")


def test_floats_are_shown_and_count_in_no_mean_and_no_cell(seen, judged) -> None:
    name = f"FGSM{FLOAT}"
    assert [group.name for group in seen.floats] == [name]
    assert name not in [group.name for group in seen.attacks]
    others = [values for attack, values in judged.auc["surprise"].items() if attack != name]
    np.testing.assert_allclose(judged.mean["surprise"], np.mean(others, axis=0))
    table = detectors.measure(seen)
    assert list(table["floats"]) == [name]
    assert name not in table["cells"]
    assert name in table["detectors"]["surprise"]["auc"]
    assert making_module.savable(dict.fromkeys(seen.groups), CASE).keys() == seen.groups.keys() - {name}


def test_a_command_line_can_ask_for_floats() -> None:
    assert planned("FGSM:epsilons=5@7!~") == (
        "FGSM epsilons=5, float", Planned("FGSM", {"epsilons": 5}, 7, unseen=True, floats=True),
    )  # fmt: skip
    assert not planned("FGSM")[1].floats


def test_an_adaptive_epsilon_below_a_step_is_refused_and_not_shown() -> None:
    case = named("lenet_digits", data=None, model=None, attacks=())
    with pytest.raises(OptionError, match=r"expected ε of at least 1/255.*0\.5"):
        adaptive.trial_of(case, photographs=False, epsilons=(0.5, 2))
    assert adaptive.trial_of(case, photographs=False, epsilons=(1, 2)).epsilons == [1 / 255, 2 / 255]
    assert adaptive.trial_of(case, photographs=False, epsilons=(0.5,), norm="L2").epsilons == [0.5]
    curve = [{"epsilon": round(each / 255, 6), "sr5": 0.1, "sr50": 0.2} for each in (0.5, 1, 2)]
    table = {"norm": "Linf", "detectors": {"linear": {"all": {"curve": curve}}}}
    assert adaptive_page.tabulate(table).splitlines()[0] == "| ε · 255 | rate | 1 | 2 |"


# ---------------------------------------------------------------- converged attacks


def test_an_attack_that_ends_further_than_deepfool_is_not_minimal(making) -> None:
    rows = making.made[2]["attacks"]
    own, its = rows["CWL2"]["l2_beside_deepfool"]
    assert own > its
    assert rows["CWL2"]["minimal"] is False  # ten large steps from a large constant
    assert "minimal" not in rows["DeepFool"]
    assert "minimal" not in rows["FGSM"]
    table = {"attacks": rows, "settings": {"unseen": ["CWL2"]}}
    assert titled("CWL2", table).startswith("CWL2 (unseen, not minimal")


def test_medians_are_compared_on_the_images_that_both_fooled_and_floats_with_floats() -> None:
    attacks = {
        "DeepFool": Planned("DeepFool"), "near": Planned("CWL2"), "far": Planned("CWL2"),
        "DeepFool, float": Planned("DeepFool", floats=True), "near, float": Planned("CWL2", floats=True),
        "sure": Planned("CWL2_confidence"), "aimed": Planned("CWL2_targeted"), "PGD": Planned("PGD"),
    }  # fmt: skip
    sizes = {
        "DeepFool": {0: 1.0, 1: 2.0, 2: 3.0, 3: 99.0}, "near": {0: 1.0, 1: 2.0, 2: 2.9}, "far": {1: 2.1, 9: 0.0},
        "DeepFool, float": {0: 0.1}, "near, float": {0: 0.2}, "sure": {0: 9.0}, "aimed": {0: 9.0}, "PGD": {0: 9.0},
    }  # fmt: skip
    found = minimal(sizes, attacks)
    assert [name for name, row in found.items() if row["minimal"]] == ["near"]
    assert list(found) == ["near", "far", "near, float"]
    assert found["far"]["l2_beside_deepfool"] == [2.1, 2.0]
    assert not minimal({"near": {0: 1.0}}, {"near": Planned("CWL2")})
    assert [name for name, each in attacks.items() if searches(each)] == ["near", "far", "near, float"]


def test_auto_pgd_and_autoattack_stand_beside_pgd_on_every_network_and_no_cell_is_of_ten_images() -> None:
    def bounds(case: Case, attack: str) -> set[float]:
        return {each.settings["epsilon"] for each in case.attacks.values() if each.attack == attack}

    for name, case in CASES.items():
        small, judged = name.startswith("lenet"), name != "resnet50_paper"
        assert bounds(case, "APGD") == (({0.1, 0.2, 0.3} if small else {8 / 255}) if judged else set())
        assert bounds(case, "AutoAttack") == (({0.2} if small else {8 / 255}) if judged else set())
        if name != "resnet50_paper":
            assert min(each.sources or case.sources for each in case.attacks.values()) >= 50
            assert case.sources >= 50


# ---------------------------------------------------------------- statistics


def test_the_p_value_is_twice_the_rarer_side() -> None:
    drawn = np.r_[0.1, np.repeat([-1.0, 1.0], [3, 96])]
    assert p_value(drawn) == pytest.approx(2 * 4 / 100)
    assert p_value(-drawn) == p_value(drawn)
    assert p_value(np.zeros(100)) == 1
    assert p_value(np.r_[0.1, np.nan, np.ones(99)]) == pytest.approx(2 / 100)


def test_holm_steps_down_and_never_decreases() -> None:
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.9})
    assert found == pytest.approx({"a": 0.09, "b": 0.04, "c": 0.09, "d": 0.9})
    assert holm({"a": 0.5, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def cell(differences: dict[str, np.ndarray], rivals: dict[str, float], successes: int = 80) -> dict:
    """The cells of a detector that is so much better than its rival, in the sample and in each resample."""
    auc = {
        "ours": {name: rivals[name] + each for name, each in differences.items()},
        "rival": {name: np.full(each.shape, rivals[name]) for name, each in differences.items()},
        "max softmax": {name: np.full(each.shape, 0.3) for name, each in differences.items()},
    }
    found = SimpleNamespace(
        attacks=[SimpleNamespace(name=name) for name in differences], successes=lambda name: successes
    )
    return contest(Resampled(auc, {}, {}, []), "ours", found, apart=("ours",))


def test_a_difference_that_rounds_to_nothing_is_a_loss_all_the_same() -> None:
    """To four digits it is 0.0000, and today's study would call it within chance."""
    worse = np.full(1001, -2e-5)
    found = cell({"A": worse}, {"A": 0.9})["A"]
    assert found["beyond_best"] == [0, 0, 0]
    assert not found["within"]


def test_there_are_resamples_enough_to_tell_a_loss_among_the_cells_of_every_network() -> None:
    """The smallest p-value is 2 ÷ (1 + resamples), and Holm multiplies it by the number of cells."""
    written = re.search(
        r"^RESAMPLES = (\d+)$", Path(judge_module.__file__).read_text(encoding="utf-8"), re.MULTILINE
    )
    resamples = int(written[1])  # tests take fewer
    assert p_value(np.ones(1 + resamples)) == 2 / (1 + resamples)
    for case in CASES.values():
        cells = [name for name, each in case.attacks.items() if not each.floats]
        assert len(cells) * 2 / (1 + resamples) <= LEVEL


def test_a_loss_by_chance_among_many_cells_is_within() -> None:
    """Of 1000 resamples 20 are on the other side: 4 % alone, and more than 5 % among ten cells."""
    close = np.r_[-0.01, np.repeat([-0.01, 0.001], [980, 20])]
    alone = cell({"A": close}, {"A": 0.9})
    assert not alone["A"]["within"]
    among = cell(dict.fromkeys("ABCDEFGHIJ", close), dict.fromkeys("ABCDEFGHIJ", 0.9))
    assert all(each["within"] for each in among.values())
    several = {"A": np.full(1001, -0.1), **dict.fromkeys("BCDEFGHIJ", close)}
    clear = cell(several, dict.fromkeys(several, 0.9))
    assert not clear["A"]["within"]


def test_cells_of_few_images_and_at_the_ceiling_are_counted_apart() -> None:
    assert [kind_of(*each) for each in ((49, 0.999), (50, 0.995), (50, 0.99499))] == ["few", "ceiling", "open"]
    better, worse = np.full(1001, 0.001), np.full(1001, -0.1)
    found = cell({"A": better, "B": worse, "C": worse}, {"A": 0.9, "B": 0.997, "C": 0.9})
    assert counted(found) == {"open": [1, 2], "ceiling": [0, 1], "few": [0, 0]}
    few = cell({"A": better}, {"A": 0.9}, successes=49)
    assert counted(few) == {"open": [0, 0], "ceiling": [0, 0], "few": [1, 1]}


def test_the_page_says_what_has_to_be_known_of_a_cell() -> None:
    table = {
        "attacks": {
            "JSMA": {"succeeded": 9, "attack": "JSMA", "median": {"l2": 1.0}},
            "CWL2": {"succeeded": 60, "attack": "CWL2", "median": {"l2": 0.3}},
            "DeepFool": {"succeeded": 60, "attack": "DeepFool", "median": {"l2": 0.1}},
        },
        "settings": {"unseen": ["JSMA"]},
    }
    assert titled("JSMA", table) == "JSMA (unseen, only 9 images)"
    assert titled("CWL2", table) == "CWL2 (not minimal)"  # results that were written before the rule
    assert titled("DeepFool", table) == "DeepFool"
    assert marks("elsewhere", table) == []
    assert flagged(0.984, 0.0702) == "98% (7.0%)"
    assert flagged(0.984, None) == "98%"


def test_counts_of_networks_add_up_kind_by_kind_where_every_result_has_kinds() -> None:
    new = {"within_the_best": [3, 5], "kinds": {"open": [1, 2], "ceiling": [2, 2], "few": [0, 1]}}
    old = {"within_the_best": [2, 7]}
    assert counts(new) == "1 of 2, 2 of 2 at the ceiling, 0 of 1 with few images"
    assert counts(old) == "2 of 7"
    assert counts(summed([new, new])) == "2 of 4, 4 of 4 at the ceiling, 0 of 2 with few images"
    assert counts(summed([new, old])) == "5 of 12"


def test_networks_that_were_judged_before_the_rules_are_counted_apart(tmp_path) -> None:
    told = {"within_the_best": [1, 3], "kinds": {"open": [1, 2], "ceiling": [0, 1], "few": [0, 0]}}
    before = {"within_the_best": [2, 7]}
    for network, row in {"lenet_digits": told, "lenet_mnist": before, "resnet20_cifar10": before}.items():
        for study in ("detectors", "further_signs"):
            file = tmp_path / "detection" / study / f"{network}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({**row, "with": {WEIGHED: row, PATHLESS: row}}))
    lines = [line.split(" | ")[:2] for line in won(tmp_path).splitlines()[2:]]
    assert [name for name, _ in lines] == [
        "| lenet_digits", "| lenet_mnist", "| resnet20_cifar10", "| all before the rules"
    ]  # fmt: skip
    assert [said for _, said in lines] == ["1 of 2, 0 of 1 at the ceiling", "2 of 7", "2 of 7", "4 of 14"]


def test_the_page_says_by_which_rules_a_network_is_measured(tmp_path) -> None:
    file = tmp_path / "detection" / "detectors" / "lenet_digits.json"
    file.parent.mkdir(parents=True)

    def said(attacks: dict, **more: dict) -> list[str]:
        file.write_text(json.dumps({"attacks": attacks, **more}))
        return rules(tmp_path).splitlines()[-1].strip("| ").split(" | ")[1:]

    before = {"FGSM": {}, "CWL2": {}, "Patch 0.5": {}}
    assert said(before) == ["floats", "one per batch, trained on the attacked images", "one by one", "not asked"]
    assert said({"FGSM": {}})[1] == "none"
    found = {
        "FGSM": {"floats": False}, "FGSM, float": {"floats": True}, "CWL2": {"minimal": True},
        "CWL2, float": {"minimal": False}, "Patch sharp": {"patches": [{"target": 1}, {"target": 2}]},
        "Patch smooth": {"patches": [{"target": 3}]}, "Patch published": {"patches": [{}, {}]},
    }  # fmt: skip
    assert said(found, kinds={}) == [
        "of 8 bits; floats in rows of their own", "2 + 1 trained on training images", "Holm",
        "minimal in 1 of 2 rows",
    ]  # fmt: skip


def test_thresholds_are_of_all_clean_images_and_every_rate_is_written(seen, judged) -> None:
    mistakes = seen.mistakes
    accuracy = seen.about["accuracy"]
    assert len(mistakes.source) == min(round(120 * (1 - accuracy) / accuracy), len(seen.controls[MISTAKES].source))
    first = judged.evaluations[0]
    cuts = np.round(np.cumsum([0.1, 0.2]) * len(mistakes.source))
    assert len(first.calibration["surprise"]) == 24 + cuts[1] - cuts[0]
    row = judged.table()["surprise"]
    assert set(row["false_alarms"]) == set(row["fpr"]) == {"0.01", "0.05", "0.1"}
    assert ATTACKS["PatchFile"].files == ("file",)
