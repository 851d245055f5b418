"""The study of signs that no profile has: what each shows alone, and what it adds to the default."""

from __future__ import annotations

import numpy as np
import pytest

from detection.product import reader
from detection.signs import TRIED
from effpath.detect import CombinedSurprise
from effpath.detect.signs.profiles import PROFILES
from figures import FIGURES, candidates

MARGIN = "fits another class too well"


@pytest.fixture(scope="module")
def table(signs_seen) -> dict:
    return candidates.measure(signs_seen)


def test_no_sign_on_trial_is_in_the_default(table) -> None:
    titles = {title for name in table["signs"] for title in name.split(" / ")}
    assert titles == {title for sign in TRIED for title in sign.says}
    assert not titles & {*PROFILES["standard"].says}
    assert MARGIN in table["signs"]


def test_what_a_sign_adds_is_the_difference_from_the_default_without_it(table) -> None:
    for name, row in table["signs"].items():
        for attack, (gain, low, high) in row["added_by_attack"].items():
            without, with_it = (table["auc"][each][attack][0] for each in ("standard", name))
            assert gain == pytest.approx(with_it - without, abs=2e-4)
            assert low <= gain <= high
        by_attack = [gain for gain, *_ in row["added_by_attack"].values()]
        assert row["added"]["all"][0] == pytest.approx(np.mean(by_attack), abs=2e-4)
    assert any(row["added"]["all"] != [0, 0, 0] for row in table["signs"].values())


def test_a_sign_is_judged_alone_where_its_suspicious_end_is_known(table, signs_seen) -> None:
    assert {name for name, row in table["signs"].items() if "alone" not in row} == {
        " / ".join(sign.says) for sign in TRIED if not sign.direction
    }
    clean, attacked = (reader([MARGIN])(signs_seen.groups[name])[:, 0] for name in ("clean", "Random"))
    wanted = (attacked[:, None] > clean).mean() + (attacked[:, None] == clean).mean() / 2
    low, high = table["auc"][f"{MARGIN}, alone"]["Random"][1:]
    assert low - 0.05 <= wanted <= high + 0.05


def test_with_a_sign_the_default_combines_one_column_more(signs_seen) -> None:
    says = [*PROFILES["standard"].says, MARGIN]
    model = CombinedSurprise("standard").fit(reader(says)(signs_seen.groups["clean"]))
    assert model.n_features_in_ == len(PROFILES["standard"].says) + 1


def test_the_share_of_controls_that_is_flagged_stands_beside(table, signs_seen) -> None:
    assert set(table["flagged"]) == {"standard", *table["signs"]}
    assert all(set(shares) == {"clean", *signs_seen.controls} for shares in table["flagged"].values())
    (panel,) = FIGURES["candidates"].panels({"digits": table})
    assert [series.label for series in panel.series] == ["all", "strong"]  # nothing of patches here
    assert [len(series.values) for series in panel.series] == [len(table["signs"])] * 2
