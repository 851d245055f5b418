"""The study of the default's floors: the shipped one is the default, others differ in what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from detection.product import entrant, weighed
from effpath.detect import CombinedSurprise
from effpath.detect.signs.forward_concentration import ForwardConcentration
from effpath.detect.signs.profiles import PROFILES
from figures import FIGURES, floors
from figures.profiles import taught

SHIPPED = {how: f"{floors.Variant(True, each[0]).name}, {how}" for how, each in floors.FLOORS.items()}


@pytest.fixture(scope="module")
def table(signs_seen) -> dict:
    return floors.measure(signs_seen)


def test_the_first_floors_are_those_of_the_default() -> None:
    model = CombinedSurprise()
    assert floors.FLOORS["attacks"][0] == (model.floor, model.learned_floor)
    assert floors.FLOORS["clean alone"][0] == (model.floor,)
    assert {*ForwardConcentration.says} < {*PROFILES["standard"].says}


@pytest.mark.parametrize("how", floors.FLOORS)
def test_the_shipped_variant_is_judged_as_the_default_is(table, signs_seen, how: str) -> None:
    learned = weighed(signs_seen.case, [group.name for group in signs_seen.attacks]) if how == "attacks" else ()
    judged = taught(signs_seen, {"standard": entrant("standard", PROFILES["standard"].says)}, learned)
    assert table["variants"][SHIPPED[how]]["auc"] == judged.aucs()["standard"]


def test_each_variant_is_compared_with_the_shipped_one_that_is_weighed_alike(table) -> None:
    assert len(table["variants"]) == 2 * sum(map(len, floors.FLOORS.values()))
    for row in table["variants"].values():
        shipped = table["variants"][SHIPPED[row["weighed_by"]]]
        for attack, (ahead, low, high) in row["shipped_beyond_by_attack"].items():
            assert ahead == pytest.approx(shipped["auc"][attack][0] - row["auc"][attack][0], abs=2e-4)
            assert low <= ahead <= high
        means = [ahead for ahead, *_ in row["shipped_beyond_by_attack"].values()]
        assert row["shipped_beyond"]["all"][0] == pytest.approx(np.mean(means), abs=2e-4)
    differ = [name for name, row in table["variants"].items() if row["shipped_beyond"]["all"] != [0, 0, 0]]
    assert {*table["variants"]} - {*differ} == {*SHIPPED.values()}


def test_without_the_sign_a_column_is_missing_and_floors_are_as_told(signs_seen) -> None:
    clean = signs_seen.groups["clean"]
    for variant in (floors.Variant(True, (0.15, 0.0)), floors.Variant(False, (0.15, 0.0))):
        made = variant.entrant()
        model = made.make(0)
        assert (model.floor, model.learned_floor) == (0.15, 0.0)
        assert made.read(clean).shape[1] == len(PROFILES["standard"].says) - (not variant.placed)
    assert floors.Variant(False, (0.15,)).entrant().make(0).learned_floor == CombinedSurprise().learned_floor


def test_the_picture_shows_every_variant(table) -> None:
    (panel,) = FIGURES["floors"].panels({"digits": table})
    assert [series.label for series in panel.series] == ["all", "minimal"]  # nothing of patches here
    assert [len(series.values) for series in panel.series] == [len(table["variants"])] * 2
