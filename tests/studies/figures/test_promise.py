"""False alarms over many calibrations: the mean is exact to a rank, the spread is that of theory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from detection import gather
from detection.cases import Case, Planned
from detection.product import ALONE
from detection.seen import MISTAKES, Seen
from detection.signs import SAYS, SIGNS
from effpath.detect import make_classifier, suspicion
from effpath.detect.metrics import threshold_at_fpr
from effpath.detect.signs.profiles import PROFILES
from figures import promise

SCORES = np.random.default_rng(0).random(82)  # halves of 41
CASE = Case(
    "digits", None, {"FGSM": Planned("FGSM", {"epsilons": 20}), "Random": Planned("Random", unseen=True)},
    sources=40, clean=130, per_class=20, batch=64, gates=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def seen(cache) -> Seen:
    return gather.gather("promised", CASE, others=(SIGNS,))


@pytest.fixture(scope="module")
def table(seen) -> dict:
    return promise.measure(seen, calibrations=40)


def exact(found: dict, ranks: int) -> bool:
    """Whether the mean over calibrations is nearer to the promised rank than to the ranks beside it."""
    return abs(found["mean"][0] - found["expected"]) < 0.5 / ranks


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.29])
def test_the_mean_share_is_that_of_the_rank_to_less_than_half_a_rank(rate: float, monkeypatch) -> None:
    found = promise.promised(SCORES, rate, 1000, 0)
    above = int(42 * rate + 1e-9)
    assert found["above"] == above
    assert found["expected"] == pytest.approx(above / 42, abs=1e-5)
    assert found["expected"] <= rate
    assert exact(found, 42)
    assert found["mean"][1] < found["mean"][0] < found["mean"][2]
    assert found["kept"]

    def moved(by: int):
        def threshold(clean: np.ndarray, fpr: float) -> float:
            ranked = np.sort(clean)[::-1]
            assert ranked[above - 1] == threshold_at_fpr(clean, fpr)
            return float(ranked[above - 1 + by])

        return threshold

    for by in (-1, 1):  # a threshold that is wrong by one rank is told
        if above - 1 + by >= 0:
            monkeypatch.setattr(promise, "threshold_at_fpr", moved(by))
            assert not exact(promise.promised(SCORES, rate, 1000, 0), 42)


def test_a_promise_that_is_broken_is_told(monkeypatch) -> None:
    def generous(clean: np.ndarray, fpr: float) -> float:
        return float(np.quantile(clean, 1 - 2 * fpr))

    monkeypatch.setattr(promise, "threshold_at_fpr", generous)
    assert not promise.promised(SCORES, 0.1, 200, 0)["kept"]


def test_the_spread_of_the_shares_is_beta_binomial_and_that_of_the_rate_beta() -> None:
    found = promise.promised(SCORES, 0.1, 4000, 0)
    assert found["spread"] == pytest.approx(found["predicted"], abs=1.01 / 41)
    drawn = np.random.default_rng(1)
    rates = [1 - threshold_at_fpr(drawn.random(41), 0.1) for _ in range(4000)]  # of uniform scores
    assert np.quantile(rates, (0.05, 0.95)) == pytest.approx(found["true_rate"], abs=0.006)
    assert np.mean(rates) == pytest.approx(found["expected"], abs=0.003)


def test_scores_that_tie_are_flagged_less_and_too_few_images_promise_nothing() -> None:
    tied = promise.promised(np.repeat([0.0, 1.0], [60, 22]), 0.1, 100, 0)
    assert tied["mean"][0] == 0 < tied["expected"]
    assert promise.promised(SCORES, 0.02, 100, 0) == {"above": 0}


def test_halves_are_disjoint_and_the_same_for_a_seed() -> None:
    one, other = promise.halves(np.arange(7.0), np.random.default_rng([0, 3]))
    assert (len(one), len(other)) == (3, 4)
    assert sorted([*one, *other]) == list(range(7))
    np.testing.assert_array_equal(one, promise.halves(np.arange(7.0), np.random.default_rng([0, 3]))[0])


def test_every_kind_is_fitted_on_images_that_calibrate_nothing(table, seen) -> None:
    mistakes = len(seen.mistakes.source)
    assert table["settings"] == {
        "calibrations": 40, "fitted_on": 26, "calibrated_on": (104 + mistakes) // 2,
        "tested": (104 + mistakes + 1) // 2, MISTAKES: mistakes,
    }  # fmt: skip
    assert set(table["kinds"]) == {"linear", "clean", "surprise", *ALONE, "max softmax", "energy"}
    for rates in table["kinds"].values():
        assert rates["0.01"] == {"above": 0}
        assert 0 <= rates["0.1"]["mean"][0] <= 0.2
        assert rates["0.1"]["kept"]


@pytest.mark.parametrize("kind", ALONE)
def test_a_profile_scores_by_its_own_signs(kind, seen) -> None:
    clean = seen.groups["clean"]
    columns = [SAYS.index(title) for title in PROFILES[kind].says]
    fitted = promise.some_of(clean, np.arange(0, 130, 3))
    score = promise.scorer(kind, fitted, seen)
    own = make_classifier(kind).fit(fitted.arrays[SIGNS][:, columns])
    used = [group for group in seen.attacks if group.name not in seen.unseen]
    taught = [group.arrays[SIGNS][np.isin(group.source, fitted.source)][:, columns] for group in used]
    both = np.concatenate([fitted.arrays[SIGNS][:, columns], *taught])
    own[-1].reweigh(own[:-1].transform(both), np.arange(len(both)) >= len(fitted.source))
    np.testing.assert_array_equal(score(clean), suspicion(own, clean.arrays[SIGNS][:, columns]))


def test_what_was_gathered_without_signs_is_judged_without_profiles(seen) -> None:
    groups = {name: promise.some_of(group, np.arange(len(group.source))) for name, group in seen.groups.items()}
    for group in groups.values():
        group.arrays.clear()
    found = promise.measure(SimpleNamespace(
        groups=groups, about=seen.about, mistakes=None, attacks=list(groups.values())[1:], unseen=seen.unseen
    ), calibrations=3)  # fmt: skip
    assert set(found["kinds"]) == {"linear", "clean", "surprise", "max softmax", "energy"}
    assert found["settings"][MISTAKES] == 0


def test_rates_are_panels_that_name_the_number_of_images(table) -> None:
    panels = promise.panels("tiny", table)
    count = table["settings"]["calibrated_on"]
    assert [panel.title for panel in panels] == [f"tiny\n5% of n = {count}", f"tiny\n10% of n = {count}"]
    assert [panel.line for panel in panels] == [0.05, 0.1]
    for panel in panels:
        for mean, low, high in panel.series[0].values:
            assert low <= high
            assert 0 <= mean <= 1
