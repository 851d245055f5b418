"""The study of signs that no profile has: where novelty lies, and what the signs add to the default."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection.cases import Case, Planned
from detection.gather import Gathering
from effpath.walk.forward import forward_sets
from figures import FIGURES, candidates

CASE = Case(
    "digits", None,
    {
        "FGSM": Planned("FGSM", {"epsilons": 20}),
        "PGD": Planned("PGD", {"epsilon": 0.2, "steps": 5, "rel_stepsize": 0.3}),
        "Random": Planned("Random", unseen=True),
    },
    sources=60, clean=60, per_class=40, batch=64,
)  # fmt: skip


def test_the_share_of_a_window_is_all_where_weights_are_in_one_place_and_a_quarter_where_they_are_everywhere() -> (
    None
):
    weights = torch.zeros(4, 8, 8)
    weights[0, 5:7, 1:3] = 2.0
    weights[1] = 0.5
    weights[2, 0, 0] = weights[2, 7, 7] = 1.0
    assert candidates._share(weights).tolist() == [1, 0.25, 0.5, 0]
    assert candidates._share(torch.ones(1, 3, 5)).tolist() == pytest.approx([2 * 3 / 15])


def test_neurons_weigh_as_they_are_rare_in_forward_sets_of_the_predicted_class(cache) -> None:
    making = Gathering("candidates", CASE, 0).making
    graph, known = making.graph, making.train
    usual = candidates.Usual.of(graph, ["conv1"], known)
    values = graph.run(known.images[:], [graph.logits, "conv1"])
    sets = forward_sets(graph, {"conv1": values["conv1"].flatten(1)})["conv1"]
    predicted = values[graph.logits].argmax(1)
    rarity = np.zeros((10, sets.shape[1]))
    for label in range(10):
        own = sets[((known.labels == label) & (predicted == label)).numpy()]
        rarity[label] = -np.log((own.sum(0) + 0.5) / (len(own) + 1))
    np.testing.assert_allclose(usual.rarity["conv1"].flatten(1).numpy(), rarity, rtol=1e-5)
    weights = torch.from_numpy(sets * rarity[predicted]).reshape(values["conv1"].shape).sum(1)
    np.testing.assert_allclose(
        usual.locality(known.images[:]), candidates._share(weights.float()).numpy(), rtol=1e-4
    )


def test_the_default_is_judged_with_the_signs_and_without(cache) -> None:
    table = candidates.measure(CASE, gathered=["FGSM", "PGD"], images=50)
    assert set(table["tested"]) == set(table["attacks"]) == {"FGSM", "PGD"}
    assert table["attacks"]["PGD"]["tried"] == 50
    assert list(table["added"]) == [
        "standard, in one place",
        "standard, both branches",
        "standard, in one place and both branches",
    ]
    for name, added in table["added"].items():
        for attack, (gain, low, high) in added.items():
            ours, others = (table["auc"][each][attack][0] for each in ("standard", name))
            assert gain == pytest.approx(others - ours, abs=2e-4)
            assert low <= gain <= high
    assert any(added["mean"] != [0, 0, 0] for added in table["added"].values())
    assert all(set(flagged) == {"clean"} for flagged in table["flagged"].values())  # no patches, so no squares
    panels = FIGURES["candidates"].panels({"digits": table})
    assert [[series.label for series in panel.series] for panel in panels] == [
        ["in one place", "both branches"],
        ["standard", "with the first", "with the second", "with both"],
    ]
