"""The study of the profiles on a tiny case: its columns are the detectors' own, its differences what they say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import digits_net
from detection import gather
from detection.cases import Case, Planned
from detection.judge import SEEDS
from detection.product import reader, shipped
from detection.seen import Seen, pixels_of, pixels_piece
from detection.signs import SIGNS
from effpath import Detector
from effpath.detect import CombinedSurprise, split_sources
from effpath.detect.signs.auxiliary import AuxiliaryNetwork
from effpath.detect.signs.profiles import PROFILES
from figures import FIGURES, pixels, profiles
from rivals import pid

CASE = Case(
    "digits", None,
    {
        "FGSM": Planned("FGSM", {"epsilons": 20}),
        "PGD": Planned("PGD", {"epsilon": 0.2, "steps": 5, "rel_stepsize": 0.3}),
        "Patch": Planned("PGD", {"epsilon": 0.3, "steps": 5, "rel_stepsize": 0.3}, unseen=True),
        "Random": Planned("Random", unseen=True),
    },
    sources=60, clean=60, per_class=40, batch=64,
)  # fmt: skip


@pytest.fixture(scope="module")
def gathering(cache) -> gather.Gathering:
    return gather.Gathering("signs", CASE, 0)


@pytest.fixture(scope="module")
def seen(gathering) -> Seen:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pid, "candidates", lambda *known: iter([digits_net.model(1)]))
        return gathering.seen((SIGNS, "log odds", "PID"))


@pytest.fixture(scope="module")
def table(seen) -> dict:
    return FIGURES["profiles"].study.measure(seen)


@pytest.mark.parametrize("kind", PROFILES)
def test_the_columns_of_a_profile_are_those_that_its_detector_reads(gathering, seen, kind) -> None:
    making = gathering.making
    asked = digits_net.auxiliary_of(kind)
    detector = Detector(making.graph, gathering.class_paths, kind=kind, auxiliary=asked)
    detector.collect(making.train.images, making.train.labels, batch_size=CASE.batch)
    for group in ("clean", "Patch"):
        images = gathering.pixels(group).images
        wanted = detector.read(detector.features(images, batch_size=CASE.batch))
        found = reader(PROFILES[kind].says)(seen.groups[group])
        near = [1e-4 if title in AuxiliaryNetwork.says else 1e-6 for title in PROFILES[kind].says]  # run otherwise
        assert (np.abs(found - wanted) <= near * np.maximum(np.abs(wanted), 1e-3)).all()


def test_without_the_other_network_the_kind_that_asks_it_is_not_judged(seen) -> None:
    arrays = dict(seen.groups["clean"].arrays)
    assert set(shipped(arrays)) == set(PROFILES)
    del arrays["PID"]
    assert set(PROFILES) - set(shipped(arrays)) == {"paired"}


def test_without_paths_no_sign_looks_at_them() -> None:
    left = set(profiles.says_of(PROFILES["thorough"], paths=False))
    assert {"unsure", "changes its mind after JPEG", "pixels unlike those of clean images"} <= left
    looked = {sign.name for profile in PROFILES.values() for sign in profile.signs if sign.walks}
    assert looked | {"forward sets", "forward typicality", "forward margin"} <= profiles.PATHS
    assert not left & {said for sign in PROFILES["thorough"].signs if sign.walks for said in sign.says}


def test_its_auc_is_that_of_combined_surprise_weighed_by_the_attacks_of_fit(seen, table) -> None:
    entrant = shipped(seen.groups["clean"].arrays)["standard"]
    looks = {name: entrant.read(group) for name, group in seen.groups.items()}
    found = []
    for seed in SEEDS:
        parts = split_sources(
            np.concatenate([group.source for group in seen.groups.values()]), fractions=(0.1, 0.2, 0.7), seed=seed
        )
        names = np.repeat(list(looks), [len(look) for look in looks.values()])
        rows = np.concatenate([np.arange(len(look)) for look in looks.values()])
        of = {part: {name: rows[at][names[at] == name] for name in looks} for part, at in parts.items()}
        train = [looks[name][of["train"][name]] for name in ("clean", "FGSM", "PGD")]
        model = CombinedSurprise("standard").fit(train[0])
        model.reweigh(np.concatenate(train), np.repeat([0, 1], [len(train[0]), len(train[1]) + len(train[2])]))
        tested = [-model.score_samples(looks[name][of["test"][name]]) for name in ("clean", "Patch")]
        found.append(roc_auc_score(np.repeat([0, 1], list(map(len, tested))), np.concatenate(tested)))
    assert table["detectors"]["standard"]["auc"]["Patch"][0] == pytest.approx(np.mean(found), abs=1e-4)


def test_what_paths_add_is_the_difference_from_the_same_without_them(table) -> None:
    for name in PROFILES:
        for kind, added in table["added_by_paths"][name].items():
            with_paths, without = (table["by_kind"][each][kind][0] for each in (name, f"{name} without paths"))
            assert added[0] == pytest.approx(with_paths - without, abs=2e-4)
            assert added[1] <= added[0] <= added[2]


def test_it_says_what_is_lost_where_one_attack_is_known_and_which_rival_is_best(table) -> None:
    assert table["one_attack"]["attacks"] == ["FGSM", "PGD"]
    assert set(table["one_attack"]["loss"]) == set(PROFILES)
    best = table["best_rival"]
    assert table["rivals"][best] == max(table["rivals"].values())
    assert set(table["beyond_best_rival"]) == set(PROFILES)
    for name, beyond in table["beyond_best_rival"].items():
        ours = table["by_kind"][name]["all"][0]
        assert beyond[0] == pytest.approx(ours - table["by_kind"][best]["all"][0], abs=2e-4)
    assert set(table["beyond_rivals"]) == set(table["rivals"])
    for name, beyond in table["beyond_rivals"].items():
        assert beyond["all"][0] == pytest.approx(
            table["by_kind"]["standard"]["all"][0] - table["rivals"][name], abs=2e-4
        )
        assert set(beyond) == set(table["by_kind"]["standard"])
    assert table["least_beyond_log_odds"]["attack"] in table["cells"]
    assert all(0.25 <= weight <= 1 for weights in table["weights"].values() for weight in weights.values())


def test_rules_are_compared_with_the_one_that_is_shipped_and_signs_stand_alone(seen, table) -> None:
    found = FIGURES["combining"].study.measure(seen)
    assert set(found["rules"]) == set(found["beyond_shipped"]) >= {"fisher", "strongest", "bonferroni"}
    assert found["auc"]["fisher"] == table["detectors"]["standard"]["auc"]
    assert found["beyond_shipped"]["fisher"] == [0, 0, 0]
    for rule, beyond in found["beyond_shipped"].items():
        ours, its = (found["rules"][each]["all"][0] for each in ("fisher", rule))
        assert beyond[0] == pytest.approx(its - ours, abs=2e-4)
    assert any(beyond != [0, 0, 0] for beyond in found["beyond_shipped"].values())
    for attack, (sign, auc) in found["best_alone"].items():
        assert auc == max(own[attack][0] for own in found["alone"].values()) == found["alone"][sign][attack][0]
    (panel,) = FIGURES["combining"].panels({"digits": found})
    assert [series.label for series in panel.series] == ["all signs, fisher", "the best sign of each attack"]


def test_what_signs_of_the_pixels_add_is_the_difference_from_the_default_without_them(seen, table) -> None:
    found = FIGURES["pixels"].study.measure(seen)
    assert found["auc"]["standard"] == table["detectors"]["standard"]["auc"]
    for part, titles in pixels.PARTS.items():
        ours, its = (found["auc"][each]["mean"][0] for each in ("standard", f"standard without {part}"))
        assert found["added"][part][0] == pytest.approx(ours - its, abs=2e-4)
        for title in titles:
            clean, noise = (reader([title])(seen.groups[name]) for name in ("clean", "Random"))
            assert found["auc"][title]["Random"][0] > 0.99
            assert noise.min() > np.median(clean)
    assert set(found["flagged"]) == {"standard", "standard without squares", "standard without surroundings"}
    for flagged in found["flagged"].values():
        assert set(flagged) == {"clean", *seen.controls}


def test_images_are_kept_bit_for_bit(gathering) -> None:
    made = gathering.making.made[0]["PGD"]
    again = pixels_of(pixels_piece(made))
    assert (again.images == made.images).all()
    assert (again.source == made.source).all()
    uneven = pixels_piece(type(made)(made.images * 0.7, made.source, made.labels))
    assert (pixels_of(uneven).images == made.images * 0.7).all()
    assert uneven.arrays["images"].dtype == np.float32
    assert pixels_piece(made).arrays["images"].dtype == np.uint8
