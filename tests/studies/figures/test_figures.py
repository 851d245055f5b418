"""Studies of detection on a tiny case: each against what another way gives of the same images."""

from __future__ import annotations

import doctest
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import figures as table_module
import reproduce
from detection import cases, gather
from detection import making as making_module
from detection.cases import CASES, Case, Planned, named, planned
from detection.gather import OTHERS
from detection.judge import SEEDS, Protocol, Resampled, judge, judge_groups, ranked, resampled_auc, row_draws
from detection.seen import Piece, Pixels, Seen, kept, some_of
from effpath import Features
from effpath.detect import SIGNS, make_classifier, split_sources, suspicion, weighted_auc
from effpath.detect.classifiers import reading_of
from effpath.detect.evaluate import Group
from effpath.errors import OptionError
from figures import (
    FIGURES,
    breadth,
    further_signs,
    layer_similarity,
    layers,
    roc,
    transfer,
)
from rivals import Rival
from sources import read_result, write_result

CASE = Case(
    "digits", None,
    {
        "FGSM": Planned("FGSM", {"epsilons": 20}),
        "PGD": Planned("PGD", {"epsilon": 0.2, "steps": 5, "rel_stepsize": 0.3}),
        "BIM": Planned("BIM", {"epsilons": 10, "steps": 5}, sources=45, unseen=True),
        "PGD weak": Planned("PGD", {"epsilon": 0.2, "steps": 5}, unseen=True),  # nine images
        "Random": Planned("Random", unseen=True),
    },
    sources=60, clean=60, per_class=40, batch=64, paper={"FGSM": 0.5}, thetas=(0.5,),
)  # fmt: skip
TOLD_APART = {
    "breadth", "candidates", "combining", "detectors", "floors", "further_signs", "pixels", "profiles",
}  # fmt: skip
MEASURES = [
    name
    for name, figure in FIGURES.items()
    if figure.page == "detection"
    and figure.others is not None  # what gathers images itself has tests of its own
    and name not in TOLD_APART
]
RATE = 0.1  # twelve images fix thresholds, too few for 5 %
RESULT = {
    "detectors": {
        "one": {"whose": "ours", "auc": {"A": [0.9, 0, 1], "B": [0.6, 0, 1]},
                "tpr": {"0.05": {"A": [0.5, 0, 1], "B": [0.49, 0, 1]}}},
        "two": {"whose": "rival", "auc": {"A": [0.8, 0, 1], "B": [0.7, 0, 1]},
                "tpr": {"0.05": {"A": [0.51, 0, 1], "B": [0.9, 0, 1]}}},
    }
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(cache) -> Seen:
    return gather.gather("tiny", CASE, others=("CDRP",))


@pytest.fixture(scope="module")
def judged(seen) -> Resampled:
    return judge(seen, Protocol(("linear", "surprise"), unseen=seen.unseen, rate=RATE))


@pytest.fixture(scope="module")
def tables(seen) -> dict[str, dict]:
    few = {"training_size": {"shares": (0.02, 0.1, 0.2)}, "controls": {"rate": RATE}, "recovery": {"rate": RATE}}
    return {name: FIGURES[name].study.measure(seen, **few.get(name, {})) for name in MEASURES}


def splits(seen, fractions=(0.1, 0.2, 0.7)) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """Rows by part and group, of every split."""
    groups = seen.groups
    for seed in SEEDS:
        parts = split_sources(np.concatenate([g.source for g in groups.values()]), fractions=fractions, seed=seed)
        names = np.repeat(list(groups), [len(g.source) for g in groups.values()])
        within = np.concatenate([np.arange(len(g.source)) for g in groups.values()])
        yield {part: {name: within[rows][names[rows] == name] for name in groups} for part, rows in parts.items()}


def mistaken(seen, part: str) -> Iterator[np.ndarray]:
    """Rows, of every split, of a part of the mistakes that come with the clean images."""
    count = len(seen.mistakes.source)
    cuts = np.round(np.cumsum([0.1, 0.2, 0.7]) * count).astype(int)
    for seed in SEEDS:
        parts = np.split(np.random.default_rng([seed, 2]).permutation(count), cuts)
        yield np.sort(parts[("train", "calibrate", "test").index(part)])


def conformal(held: np.ndarray, rate: float) -> float:
    """The held-out score of rank ⌈(n + 1)(1 − rate)⌉; infinite where there are fewer."""
    rank = math.ceil(round((len(held) + 1) * (1 - rate), 9))
    return np.sort(held)[rank - 1] if rank <= len(held) else np.inf


def fitted(seen, kind: str, train: dict[str, np.ndarray], learnt: list[str], seed: int):
    """A detector that is fitted here, and its suspicion of features."""
    values = [reading_of(kind).columns(seen.groups[name].features)[train[name]] for name in ("clean", *learnt)]
    labels = np.repeat([0, 1], [len(values[0]), sum(map(len, values[1:]))])
    model = make_classifier(kind, seed=seed).fit(np.concatenate(values), labels)
    return lambda features: suspicion(model, reading_of(kind).columns(features))


# ---------------------------------------------------------------- cases


def test_the_examples_of_the_cases_run() -> None:
    assert doctest.testmod(cases).failed == 0


def test_an_attack_of_a_command_line_keeps_its_settings() -> None:
    assert planned("FGSM") == ("FGSM", Planned("FGSM"))
    label, own = planned("CWL2:confidence=14,steps=5!")
    assert (label, own.settings, own.unseen) == (
        "CWL2 confidence=14 steps=5",
        {"confidence": 14, "steps": 5},
        True,
    )
    assert planned("BIM@7")[1].sources == 7


def test_unknown_cases_and_attacks_are_named() -> None:
    with pytest.raises(OptionError, match=r"unknown case 'lenet'.*lenet_digits"):
        named("lenet", data=None, model=None, attacks=())
    with pytest.raises(OptionError, match=r"unknown attack 'FGSN'.*FGSM"):
        named("lenet_digits", data=None, model=None, attacks=("FGSN",))


def test_a_case_takes_other_attacks_and_leaves_the_rest() -> None:
    own = named("lenet_digits", data=None, model="m.py:f", attacks=("BIM@3",))
    assert own.attacks == {"BIM": Planned("BIM", sources=3)}
    assert replace(own, attacks=CASES["lenet_digits"].attacks, model=None) == CASES["lenet_digits"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_case_learns_from_some_attacks_and_is_tested_on_others(case) -> None:
    unseen = {planned.unseen for planned in case.attacks.values()}
    only_the_papers = set(case.attacks) <= set(case.paper)  # a case for the paper's table alone
    assert unseen == ({False} if only_the_papers else {False, True})


# ---------------------------------------------------------------- gather


def same_group(one: Group, other: Group) -> None:
    for field in fields(Features):
        np.testing.assert_equal(getattr(one.features, field.name), getattr(other.features, field.name))
    np.testing.assert_equal(one.source, other.source)
    np.testing.assert_equal(dict(one.arrays), dict(other.arrays))


def test_a_piece_is_made_once_and_read_again(tmp_path) -> None:
    made = Piece({"a|b c": np.arange(3.0), "empty": np.zeros((0, 2), np.int64)}, {"seconds": 1.5, "names": ["x"]})
    first = kept(tmp_path / "one.npz", lambda: made)
    again = kept(tmp_path / "one.npz", lambda: pytest.fail("made again"))
    for found in (first, again):
        np.testing.assert_equal(dict(found.arrays), dict(made.arrays))
        assert found.about == made.about


def test_work_that_was_killed_goes_on_with_the_next_piece(cache, monkeypatch) -> None:
    case = replace(CASE, per_class=39)

    def killed(*images, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(making_module.RIVALS, "squeezing", Rival(killed, {}))
        with pytest.raises(KeyboardInterrupt):
            gather.gather("killed", case, others=("squeezing",))
    monkeypatch.setattr(making_module, "path_features", lambda *a, **k: pytest.fail("paths again"))
    found = gather.gather("killed", case, others=("squeezing",))
    for group in found.groups.values():
        assert group.arrays["squeezing"].shape == group.source.shape


def test_a_case_is_gathered_once_and_others_apart(seen, cache, monkeypatch) -> None:
    monkeypatch.setattr(making_module.Making, "made", property(lambda making: pytest.fail("gathered again")))
    again = gather.gather("tiny", replace(CASE, thetas=(), paper={}), others=("CDRP",))  # no part in what is seen
    same_group(again.groups["FGSM"], seen.groups["FGSM"])
    assert len(list((cache / "seen").glob("tiny-*"))) == 1
    with pytest.raises(pytest.fail.Exception, match="again"):
        gather.gather("tiny", replace(CASE, per_class=41), others=("CDRP",))


def test_what_is_seen_is_clean_first_and_each_attack_has_its_source(seen) -> None:
    assert next(iter(seen.groups)) == "clean"
    np.testing.assert_array_equal(seen.groups["clean"].source, np.arange(60))
    clean = seen.groups["clean"].features
    np.testing.assert_array_equal(clean.classes[:, 0], seen.labels["clean"])
    for group in seen.attacks:
        at = group.source[group.source >= 0]
        np.testing.assert_array_equal(seen.labels[group.name][group.source >= 0], seen.labels["clean"][at])
        assert (group.features.classes[group.source >= 0, 0] != seen.labels["clean"][at]).all()
        assert len(group.arrays["CDRP"]) == len(group.source)
    assert (seen.groups["Random"].source == -1).all()
    assert set(seen.groups["BIM"].source) <= set(np.linspace(0, 59, 45).astype(int))


def test_controls_are_classified_correctly_or_are_mistakes(seen) -> None:
    noise = seen.controls["noise as large as PGD"]
    np.testing.assert_array_equal(noise.features.classes[:, 0], seen.labels["noise as large as PGD"])
    assert set(noise.source) <= set(seen.groups["PGD"].source)
    mistakes = seen.controls["natural mistakes"]
    assert (mistakes.features.classes[:, 0] != seen.labels["natural mistakes"]).all()


# ---------------------------------------------------------------- judge


@pytest.mark.parametrize("rate", [0.05, RATE])
def test_judged_auc_and_rates_are_those_of_a_detector_fitted_here(seen, judged, rate) -> None:
    seeing = [group.name for group in seen.attacks if group.name not in seen.unseen]
    auc, tpr, fpr = {name: [] for name in seen.groups}, {name: [] for name in seen.groups}, []
    for seed, parts, wrong in zip(SEEDS, splits(seen), mistaken(seen, "calibrate"), strict=True):
        score = fitted(seen, "linear", parts["train"], seeing, seed)
        own = {name: score(group.features[parts["test"][name]]) for name, group in seen.groups.items()}
        held = score(seen.groups["clean"].features[parts["calibrate"]["clean"]])
        limit = conformal(np.concatenate([held, score(seen.mistakes.features[wrong])]), rate)
        fpr.append((own["clean"] > limit).mean())
        for name, scores in own.items():
            y = np.repeat([0, 1], [len(own["clean"]), len(scores)])
            auc[name].append(roc_auc_score(y, np.concatenate([own["clean"], scores])))
            tpr[name].append((scores > limit).mean())
    assert judged.fpr["linear"][rate] == pytest.approx(np.mean(fpr))
    for group in seen.attacks:
        assert judged.auc["linear"][group.name][0] == pytest.approx(np.mean(auc[group.name]))
        assert judged.tpr["linear"][rate][group.name][0] == pytest.approx(np.mean(tpr[group.name]))


def test_a_resample_is_the_auc_of_its_rows_repeated(seen, judged) -> None:
    found = []
    for evaluation in judged.evaluations:
        weights, scores = [], []
        for name in ("clean", "PGD"):
            rows = evaluation.test[name]
            weights.append(row_draws(seen.groups[name].source[rows], 60)[:, 7].astype(int))
            scores.append(evaluation.suspicion["surprise"][name])
        repeated = [np.repeat(*pair) for pair in zip(scores, weights, strict=True)]
        found.append(roc_auc_score(np.repeat([0, 1], [len(r) for r in repeated]), np.concatenate(repeated)))
    assert judged.auc["surprise"]["PGD"][7] == pytest.approx(np.mean(found))


def test_rows_of_one_source_are_drawn_together_and_rows_without_on_their_own() -> None:
    draws = row_draws(np.array([3, 0, 3, -1, -1, -1]), 5)
    np.testing.assert_array_equal(draws[:, 0], 1)
    np.testing.assert_array_equal(draws[0], draws[2])
    np.testing.assert_array_equal(draws[3:].sum(0), 3)
    assert not np.array_equal(draws[3], draws[4])
    assert not np.array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[:1], row_draws(np.array([3]), 5))  # the same in every group


def test_resampled_auc_is_that_of_rows_repeated_with_ties_and_nothing_drawn() -> None:
    rng = np.random.default_rng(1)
    clean, attacked = rng.integers(0, 9, 40) / 8, rng.integers(2, 11, 30) / 8
    draws = rng.integers(0, 3, (70, 20))
    draws[:40, 5] = 0
    found = resampled_auc(ranked(clean, draws[:40]), attacked, draws[40:])
    y = np.repeat([0, 1], [40, 30])
    np.testing.assert_array_equal(found, weighted_auc(y, np.concatenate([clean, attacked]), draws.T))
    for column in set(range(20)) - {5}:
        rows = np.repeat(np.arange(70), draws[:, column])
        known = roc_auc_score(y[rows], np.concatenate([clean, attacked])[rows])
        assert found[column] == pytest.approx(known, abs=1e-12)
    assert np.isnan(found[5])


def test_baselines_can_be_left_out_and_change_nothing(seen, judged) -> None:
    own = judge(seen, Protocol(("linear",), unseen=seen.unseen, baselines=False))
    assert list(own.auc) == ["linear"]
    np.testing.assert_array_equal(own.mean["linear"], judged.mean["linear"])
    assert judged.aucs()["linear"]["mean"] == judged.table()["linear"]["mean"]


# ---------------------------------------------------------------- studies


def test_curves_go_up_and_the_papers_number_is_beside_ours(tables, judged) -> None:
    for own in tables["roc"]["curves"]["linear"].values():
        assert (np.diff(own["tpr"]) >= 0).all()
        assert own["tpr"][-1] == 1
    ours = round(float(judged.auc["linear"]["FGSM"][0]), 4)
    found = {"paper": 0.5, "ours": ours, "met": ours >= 0.5, "met_by_surprise": True}
    assert tables["roc"]["paper"] == {"FGSM": found}
    np.testing.assert_allclose(
        tables["roc"]["detectors"]["surprise"]["auc"]["PGD"][0], judged.auc["surprise"]["PGD"][0], atol=1e-4
    )


def test_the_published_protocol_leaves_out_what_a_split_has_no_image_of(tables, seen) -> None:
    few = {name: some_of(group, np.arange(1 if name == "PGD" else 3)) for name, group in seen.groups.items()}
    scarce = {name: few[name] if name in ("PGD", "BIM") else group for name, group in seen.groups.items()}
    found = roc.published_auc(replace(seen, groups=scarce))
    assert set(tables["roc"]["published_protocol"]) == set(seen.groups) - {"clean"}
    assert set(found) | {"BIM"} == set(seen.groups) - {"clean", "PGD"}


def test_every_share_is_tested_on_the_same_images_and_small_ones_are_left_out(tables, seen) -> None:
    table = tables["training_size"]
    assert list(table["left_out"]) == ["PGD weak", "0.02"]
    assert {share: own["trained"] for share, own in table["shares"].items()} == {"0.1": 6, "0.2": 12}
    aucs = [own["auc"] for own in table["shares"].values()]
    for own in aucs:  # what learns nothing does not change
        assert (own["energy"], own["max softmax"]) == (aucs[0]["energy"], aucs[0]["max softmax"])
        assert own["linear"]["seen"][0] == pytest.approx(
            (own["linear"]["FGSM"][0] + own["linear"]["PGD"][0]) / 2, abs=1e-4
        )
    assert {"forest", "CDRP, boosting"} <= set(aucs[0])
    fractions = {"test": 0.3, "calibrate": 0.2, "train": 0.2}
    found = []
    for seed, parts in zip(SEEDS, splits(seen, fractions), strict=True):
        score = fitted(seen, "linear", parts["train"], ["FGSM", "PGD"], seed)
        own = [score(seen.groups[name].features[parts["test"][name]]) for name in ("clean", "BIM")]
        found.append(roc_auc_score(np.repeat([0, 1], [len(o) for o in own]), np.concatenate(own)))
    assert table["shares"]["0.2"]["auc"]["linear"]["BIM"][0] == pytest.approx(np.mean(found), abs=1e-4)


def test_transfer_from_an_attack_to_itself_is_training_on_it_alone(tables, seen) -> None:
    for group in (seen.groups["FGSM"], seen.groups["BIM"]):
        alone = judge_groups(seen.groups["clean"], [group], Protocol(("linear", "surprise")))
        for detector in ("linear", "surprise"):
            own = tables["transfer"]["sets"]["minimal"][detector]["auc"]
            assert own[group.name][group.name] == alone.aucs()[detector][group.name]


def test_the_loss_of_transfer_is_over_the_other_attacks(tables) -> None:
    assert list(tables["transfer"]["sets"]["minimal"]["linear"]["loss"]) == ["FGSM", "BIM"]
    assert tables["transfer"]["only_tested"] == ["PGD weak"]
    own = tables["transfer"]["sets"]["every"]
    assert list(own) == ["linear", "surprise", "CDRP, linear", "CDRP, forest"]
    for found in own.values():
        auc = found["auc"]
        assert list(auc) == ["all", "FGSM", "PGD", "BIM"]
        assert list(auc["all"]) == ["FGSM", "PGD", "BIM", "PGD weak"]  # Random starts from no image
        lost = [auc["all"][name][0] - auc["PGD"][name][0] for name in ("FGSM", "BIM", "PGD weak")]
        assert found["loss"]["PGD"][0] == pytest.approx(np.mean(lost), abs=2e-4)
        mean = np.mean([value for value, _, _ in found["loss"].values()])
        assert found["mean_loss"][0] == pytest.approx(mean, abs=2e-4)
        assert found["met"] == (found["mean_loss"][0] <= 0.03)


def test_transfer_trains_on_one_attack_and_tests_on_another(tables, seen) -> None:
    found = []
    for seed, parts in zip(SEEDS, splits(seen), strict=True):
        score = fitted(seen, "surprise", parts["train"], ["PGD"], seed)
        own = [score(seen.groups[name].features[parts["test"][name]]) for name in ("clean", "FGSM")]
        found.append(roc_auc_score(np.repeat([0, 1], [len(o) for o in own]), np.concatenate(own)))
    own = tables["transfer"]["sets"]["every"]["surprise"]["auc"]["PGD"]["FGSM"]
    assert own[0] == pytest.approx(np.mean(found), abs=1e-4)


def test_a_transfer_that_had_too_few_images_is_not_drawn(tables, tmp_path) -> None:
    assert not FIGURES["transfer"].drawn({"few": {**tables["transfer"], "sets": {}}}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_theta_of_the_preset_gives_what_was_gathered(tables, judged) -> None:
    own = tables["theta"]["thetas"]["0.5"]["auc"]
    for detector, found in judged.aucs().items():
        assert own[detector] == found
    assert tables["theta"]["class_path_images"] == 400


def with_further_signs(seen) -> Seen:
    """What two rivals measure of attacks is 3 standard deviations above what they measure of clean images."""
    rng = np.random.default_rng(0)

    def measured(group: Group) -> Group:
        strength = 3.0 if group.name in CASE.attacks else 0.0
        told = {name: strength + rng.normal(size=len(group.source)) for name in ("MagNet", "resize and pad")}
        return replace(group, arrays=told)

    groups, controls = (
        {name: measured(group) for name, group in each.items()} for each in (seen.groups, seen.controls)
    )
    return replace(seen, groups=groups, controls=controls)


def test_transfer_of_what_is_weighed_is_that_of_the_study_of_further_signs(seen) -> None:
    told = with_further_signs(seen)
    own = transfer.measure(told)["sets"]["every"][transfer.WEIGHED]
    every = {name: replace(planned, unseen=False) for name, planned in CASE.attacks.items()}
    learned = replace(told, case=replace(CASE, attacks=every))
    wanted = further_signs.measure(learned)["with"][further_signs.WEIGHED]["auc"]
    for name, value in own["auc"]["all"].items():
        if name in ("FGSM", "BIM", "PGD"):
            assert value[0] == pytest.approx(wanted[name][0], abs=0.02)  # there Random is learned from too
    assert own["met"] == (own["mean_loss"][0] <= 0.03)


def test_further_signs_are_judged_beside_joint_surprise_and_each_alone(seen, tmp_path) -> None:
    table = further_signs.measure(with_further_signs(seen))
    weighed, pathless = further_signs.WEIGHED, further_signs.PATHLESS
    assert list(table["with"])[:4] == ["MagNet", "resize and pad", "MagNet, resize and pad", "all of them"]
    assert list(table["with"])[4:] == [weighed, pathless, *further_signs.FLOORS, further_signs.ALONE]
    assert list(table["with"][further_signs.ALONE]["weights"]) == list(SIGNS)
    least = [min(table["with"][name]["weights"].values()) for name in further_signs.FLOORS]
    assert least[1:] == [0.25, 0.5]
    assert 0 <= least[0] < 0.1
    assert set(table["with"]["all of them"]["weights"].values()) == {1.0}
    weights = table["with"][weighed]["weights"]
    assert list(weights) == [*SIGNS, "MagNet", "resize and pad"]
    assert 0.1 <= min(weights.values()) < max(weights.values()) <= 1
    assert table["with"][pathless]["weights"]["outside its class path"] == 0.1  # of a sign that never surprises
    with_paths, without = (table["with"][name]["auc"] for name in (weighed, pathless))
    assert list(table["added_by_paths"]) == list(with_paths)
    for name, (value, low, high) in table["added_by_paths"].items():
        assert value == pytest.approx(with_paths[name][0] - without[name][0], abs=2e-4)
        assert low <= value <= high
    assert with_paths != without
    both = table["with"]["MagNet, resize and pad"]
    assert both["auc"] == table["with"]["all of them"]["auc"]
    assert both["beyond_surprise"][0] == pytest.approx(
        both["auc"]["mean"][0] - table["without"]["mean"][0], abs=2e-4
    )
    assert both["auc"]["mean"][0] > max(table["alone"]["MagNet"][0], table["without"]["mean"][0])
    for own in table["with"].values():
        assert own["within_the_best"] == [sum(cell["within"] for cell in own["cells"].values()), len(seen.attacks)]
        for name, cell in own["cells"].items():
            assert cell["beyond_best"][0] == pytest.approx(own["auc"][name][0] - cell["its_auc"], abs=2e-4)
            assert cell["beyond_softmax"][0] == pytest.approx(own["auc"][name][0] - cell["softmax"], abs=2e-4)
            assert 0 <= cell["tpr"][1] <= cell["tpr"][0] <= cell["tpr"][2] <= 1
            assert "surprise +" not in cell["best"]
    assert FIGURES["further_signs"].drawn({"tiny": table, "again": table}, tmp_path / "signs.png")
    assert 1000 < (tmp_path / "signs.png").stat().st_size < 300_000
    assert any("MagNet, resize and pad" in line for line in FIGURES["further_signs"].words("tiny", table))


def test_thinned_images_keep_their_sources() -> None:
    def pixels(source) -> Pixels:
        source = np.array(source)
        return Pixels(torch.arange(len(source)), source, source * 10)

    every = {"clean": pixels(range(12)), "A": pixels([0, 3, 4, 8]), "B": pixels([3]), "R": pixels([-1] * 5)}
    found = making_module.thinned(every, 3)  # of 0, 3, 4, 8, which were attacked
    assert list(found) == ["clean", "A", "R"]  # of B's sources none is kept
    np.testing.assert_array_equal(found["clean"].images, [0, 4, 8])
    np.testing.assert_array_equal(found["A"].source, [0, 1, 2])
    np.testing.assert_array_equal(found["A"].labels, [0, 40, 80])
    np.testing.assert_array_equal(found["R"].source, [-1, -1, -1])
    assert making_module.thinned(every, 9) == every == making_module.thinned(every, None)


def test_all_layers_together_are_the_whole_and_the_last_one_alone_is_the_last(tables, judged, seen) -> None:
    table = tables["layers"]
    assert list(table["last"]) == ["1", "2", "3", "4", "5"]
    for detector in ("linear", "surprise"):
        assert table["last"]["5"][detector] == judged.aucs()[detector]
    assert table["last"]["1"] == table["single"][table["layers"][-1]]
    own = layers.of_layers(seen.groups["FGSM"], [1, 2]).features
    assert own.names == tuple(f"rank{rank}:synapses:{layer}" for rank in (1, 2) for layer in ("conv2", "fc1"))
    whole = seen.groups["FGSM"].features
    np.testing.assert_array_equal(own.values, whole.values[:, [1, 2, 6, 7]])
    np.testing.assert_array_equal(own.margins(), whole.margins()[:, 1:3])


def test_similarity_by_layer_is_the_mean_of_what_is_there(tables, seen) -> None:
    for name, columns in (("rank 1", slice(0, 5)), ("rank 2", slice(5, 10))):
        means = {group.name: np.nanmean(group.features.values[:, columns], 0) for group in seen.groups.values()}
        for group, own in tables["layer_similarity"]["measures"][name].items():
            np.testing.assert_allclose([v for v, _, _ in own["mean"]], means[group], atol=1e-4)
            assert all(low - 1e-4 <= value <= high + 1e-4 for value, low, high in own["mean"])
            if group != "clean":
                np.testing.assert_allclose(
                    [v for v, _, _ in own["delta"]], means["clean"] - means[group], atol=1e-4
                )
    values = np.array([[1.0, np.nan], [3, 5], [8, np.nan]])
    found = layer_similarity.means(np.array([[1, 1, 1], [2, 1, 0], [1, 0, 0]]).T, values)
    np.testing.assert_allclose(found, [[4, 5], [5 / 3, 5], [1, np.nan]])


def test_neighbours_vote_without_the_images_own_source(tables, seen) -> None:
    clean, attacked = seen.groups["clean"], seen.groups["FGSM"]
    count = min(len(clean.source), len(attacked.source))
    rows = {
        group.name: np.linspace(0, len(group.source) - 1, count).round().astype(int) for group in (clean, attacked)
    }
    values = np.concatenate([group.features.values[rows[group.name]] for group in (clean, attacked)])
    sources = np.concatenate([group.source[rows[group.name]] for group in (clean, attacked)])
    kinds = np.repeat([0, 1], count)
    wrong = []
    for row, (value, source, kind) in enumerate(zip(values, sources, kinds, strict=True)):
        others = sources != source
        assert not others[row]
        model = KNeighborsClassifier(5).fit(values[others], kinds[others])
        wrong.append(model.predict(value[None])[0] != kind)
    assert tables["tsne"]["errors"]["FGSM"] == pytest.approx(np.mean(wrong), abs=1.1 / len(wrong))  # ties
    places = {name: len(text.split()) for name, text in tables["tsne"]["places"].items()}
    assert places == {name: len(group.source) for name, group in seen.groups.items()}


def test_noise_and_mistakes_are_flagged_at_the_threshold_of_clean_images(tables, judged, seen) -> None:
    table = tables["controls"]["detectors"]
    for detector in ("linear", "surprise", "max softmax", "energy"):
        assert table[detector]["flagged"]["clean"][0] == pytest.approx(judged.fpr[detector][RATE], abs=1e-4)

    def doubt(features: Features) -> np.ndarray:
        return -softmax(features.logits.astype(float), axis=1).max(1)

    noise, mistakes, clean = (
        seen.controls["noise as large as PGD"],
        seen.controls["natural mistakes"],
        seen.groups["clean"],
    )
    flagged, wrong, auc = [], [], []
    ways = zip(splits(seen), mistaken(seen, "calibrate"), mistaken(seen, "test"), strict=True)
    for parts, held, tested in ways:
        known = doubt(clean.features[parts["calibrate"]["clean"]]), doubt(mistakes.features[held])
        limit = conformal(np.concatenate(known), RATE)
        others = doubt(mistakes.features[np.r_[tested, len(seen.mistakes.source) : len(mistakes.source)]])
        rows = np.array([source in parts["test"]["clean"] for source in noise.source])
        flagged.append((doubt(noise.features)[rows] > limit).mean())
        wrong.append((others > limit).mean())
        own = doubt(clean.features[parts["test"]["clean"]])
        y = np.repeat([0, 1], [len(own), len(others)])
        auc.append(roc_auc_score(y, np.concatenate([own, others])))
    found = table["max softmax"]
    assert found["flagged"]["noise as large as PGD"][0] == pytest.approx(np.mean(flagged), abs=1e-4)
    assert found["flagged"]["natural mistakes"][0] == pytest.approx(np.mean(wrong), abs=1e-4)
    assert found["mistakes_auc"][0] == pytest.approx(np.mean(auc), abs=1e-4)


def test_recovered_classes_are_counted_by_hand(tables, judged, seen) -> None:
    group, labels = seen.groups["PGD"], seen.labels["PGD"]
    right = {"rank 2": [], "best fit": [], "best other fit": []}
    detected = []
    for evaluation in judged.evaluations:
        scores = evaluation.suspicion["linear"]["PGD"]
        for row, score in zip(evaluation.test["PGD"], scores, strict=True):
            means = np.nanmean(group.features.likelihood[row], axis=0)
            likelihood = dict(zip(group.features.likelihood_classes, means, strict=True))
            predicted, second = group.features.classes[row]
            ranked = sorted(likelihood, key=likelihood.__getitem__, reverse=True)
            detected.append(score > evaluation.threshold["linear"])
            right["rank 2"].append(second == labels[row])
            right["best fit"].append(ranked[0] == labels[row])
            right["best other fit"].append(next(c for c in ranked if c != predicted) == labels[row])
    table = tables["recovery"]["detectors"]["linear"]
    for part, rows in (("detected", np.array(detected)), ("undetected", ~np.array(detected))):
        assert rows.any()
        assert table["PGD"][part]["images"] == pytest.approx(rows.sum() / 5)
        for guess, hits in right.items():
            assert table["PGD"][part][guess][0] == pytest.approx(np.array(hits)[rows].mean(), abs=1e-4)
    assert "Random" not in table


def test_breadth_counts_attacks_of_which_half_is_found() -> None:
    table = breadth.measure(RESULT)["detectors"]
    assert [(name, own["found"], own["lowest_auc"]) for name, own in table.items()] == [
        ("two", 2, 0.7),
        ("one", 1, 0.6),
    ]
    assert table["one"]["lowest_attack"] == "B"


# ---------------------------------------------------------------- commands


@pytest.mark.parametrize("name", MEASURES)
def test_a_study_draws_small_files_and_says_a_line_or_more(name, tables, tmp_path) -> None:
    table = tables[name]
    file = tmp_path / ("figure.png" if name == "tsne" else "figure.svg")
    assert FIGURES[name].drawn({"tiny": table, "again": table}, file)
    assert 1000 < file.stat().st_size < 300_000
    assert len(FIGURES[name].words("tiny", table)) > 1


def test_the_command_has_help_that_shows_its_uses_and_names_every_study(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        reproduce.main(["--help"])
    shown = capsys.readouterr().out
    assert "python studies/reproduce.py --study roc" in shown
    assert all(name in shown for name in FIGURES)


def test_a_command_measures_a_case_once_and_passes_its_options_on(seen, tmp_path, monkeypatch, capsys) -> None:
    asked, looked = [], []

    def measure(given: Seen, **options: int | None) -> dict:
        asked.append((given, options))
        return {"value": 1}

    def run(*words: str) -> None:
        reproduce.main(["--output", str(tmp_path), "--study", "theta", *words])

    study = SimpleNamespace(__name__="theta", measure=measure, panels=lambda network, table: [])
    monkeypatch.setitem(CASES, "tiny", CASE)
    monkeypatch.setitem(FIGURES, "theta", replace(FIGURES["theta"], study=study, others=("CDRP",)))
    monkeypatch.setattr(
        table_module, "gather", lambda name, *case, **how: looked.append((*case, how["others"])) or seen
    )
    run("--case", "tiny", "--per-class", "7", "--attacks", "BIM")
    assert looked == [(replace(CASE, attacks={"BIM": Planned("BIM")}), ("CDRP",))]
    assert asked == [(seen, {"per_class": 7})]
    found = read_result(tmp_path / "theta" / "tiny.json")
    assert (found["value"], found["network"], found["attacked_images"]) == (1, "tiny", 60)
    assert "tiny.json" in capsys.readouterr().out
    run("--case", "tiny")  # is there
    assert len(asked) == 1
    (tmp_path / "theta" / "tiny.json").unlink()
    with pytest.raises(SystemExit, match="unknown case 'huge'"):
        run("--case", "huge")
    with pytest.raises(SystemExit, match="expected no --timed for theta"):
        run("--case", "tiny", "--timed", "3")
    with pytest.raises(SystemExit, match="expected --study where images are given"):
        reproduce.main(["--output", str(tmp_path), "--case", "tiny", "--images", "3"])


def test_without_a_study_attacks_and_class_paths_then_what_is_seen_then_studies_are_made(tmp_path, monkeypatch):
    done = []

    def beside(calls, processes, what):
        done.append((what, {name: (call.args, call.keywords) for name, call in calls.items()}))
        return dict.fromkeys(calls, 1.0)

    monkeypatch.setitem(CASES, "tiny", CASE)
    monkeypatch.setattr(reproduce, "side_by_side", beside)

    def making(case, seed):
        return SimpleNamespace(chosen=done.append(("network", seed)))

    monkeypatch.setattr(reproduce, "Making", making)
    known = SimpleNamespace(groups=["clean", "FGSM", "noise"], judged=["clean", "FGSM"])
    monkeypatch.setattr(reproduce, "Gathering", lambda *about: known)
    words = ["--case", "tiny", "--processes", "3", "--device", "cuda", "--output", str(tmp_path)]
    reproduce.main(words)
    assert [what for what, _ in done] == ["network", "attacks and class paths", "what is seen", "studies"]
    attacks, seen, studies = (calls for what, calls in done if what != "network")
    assert next(iter(attacks)) == "class paths"
    assert attacks["class paths"] == (("tiny", CASE, 0, "cuda", "class paths"), {"threads": 3})
    names = {args[1] for args, _ in attacks.values() if isinstance(args[0], Case)}
    assert names == set(CASE.attacks)

    def pieces(calls):
        return {(what, *groups) for (*_, what, groups), _ in calls.values()}

    def wanted(groups):
        rivals = {(other, *groups) for other in OTHERS if other != "signs"}
        return rivals | {(what, group) for what in ("paths", "signs") for group in groups}

    assert pieces(seen) == wanted(known.groups)
    assert {name for name, (_, how) in seen.items() if "threads" in how} == {"paths clean", "signs clean"}
    assert set(studies) == set(reproduce.WHOLE)
    found = read_result(tmp_path / "reproduce" / "tiny.json")
    assert (found["processes"], found["device"]) == (3, "cuda")
    assert set(found["seconds"]) == {
        "attacks", "what is seen", "gathered", "studies", "studied", "processor"
    }  # fmt: skip
    reproduce.main([*words, "--gather"])
    assert [what for what, _ in done[4:]] == ["network", "attacks and class paths", "what is seen"]
    assert "studies" not in read_result(tmp_path / "gathered" / "tiny.json")["seconds"]
    reproduce.main([*words, "--gather", "--judged"])
    assert pieces(done[-1][1]) == wanted(known.judged)
    with pytest.raises(SystemExit, match="expected --gather with --judged"):
        reproduce.main([*words, "--judged"])


def test_breadth_reads_the_results_of_the_comparison(tmp_path, capsys) -> None:
    write_result(RESULT, tmp_path / "detectors" / "lenet_digits.json")
    for words in ([], ["--plot"]):
        reproduce.main(["--study", "breadth", *words, "--output", str(tmp_path)])
    assert 100 < (tmp_path / "breadth" / "lenet_digits.png").stat().st_size < 300_000
    assert read_result(tmp_path / "breadth" / "lenet_digits.json")["detectors"]["two"]["found"] == 2
    assert "two: 2 of 2" in capsys.readouterr().out


# ---------------------------------------------------------------- committed results


RESULTS = Path(__file__).parents[3] / "docs" / "results"


@pytest.mark.parametrize("study", FIGURES)
def test_the_committed_results_of_a_study_are_drawn_and_said(study) -> None:
    figure = FIGURES[study]
    folder = RESULTS / figure.page
    files = sorted((folder / (figure.reads or study)).glob("*.json"))
    assert files
    for file in files:
        table = read_result(file)
        table = figure.study.measure(table) if figure.reads else table
        panels = figure.panels({file.stem: table})
        assert bool(panels) == (folder / study / f"{file.stem}{figure.form}").exists()
        assert all(series.table.size for panel in panels for series in panel.series)
        assert len(figure.words(file.stem, table)) > len(panels)
