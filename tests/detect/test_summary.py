import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from effpath.detect.features import READINGS, Features
from effpath.detect.verdicts import Verdicts, summarise
from effpath.errors import InputError


def verdicts(scores, predicted, threshold=0.5):
    scores, predicted = np.asarray(scores, dtype=float), np.asarray(predicted)
    logits = np.zeros((len(scores), 3), np.float32)
    logits[np.arange(len(scores)), predicted] = 1 + np.arange(len(scores))
    classes = np.stack([predicted, (predicted + 1) % 3], axis=1)
    features = Features(np.zeros((len(scores), 2)), ("rank1:synapses:a", "rank2:synapses:a"), classes, logits)
    return Verdicts(
        scores,
        scores > threshold,
        classes[:, 0],
        classes[:, 1],
        features,
        None,
        (),
        np.full(len(scores), threshold),
        None,
        READINGS["similarities"],
    )


def test_counts_by_hand():
    found = verdicts([0.9, 0.1, 0.8, 0.2, 0.7], [0, 1, 2, 0, 1])
    summary = summarise(found, np.array([1, 2, 2, 0, -1]))
    assert (summary.images, summary.flagged) == (5, 3)
    assert (summary.labelled, summary.correct) == (4, 2)
    assert (summary.fooling, summary.fooling_flagged) == (2, 1)
    assert summary.found.value == 0.5
    assert summary.clean is None
    assert summary.auc is None


def test_without_labels_nothing_is_said_of_fooling():
    summary = summarise(verdicts([0.9, 0.1, 0.8], [0, 1, 2]), np.full(3, -1))
    assert (summary.labelled, summary.correct, summary.fooling, summary.fooling_flagged) == (0, None, None, None)
    assert summary.found.value == pytest.approx(2 / 3)
    assert "fooling" not in summary.to_dict()


def test_the_auc_is_of_fooling_images_against_clean_ones_that_are_predicted_right():
    rng = np.random.default_rng(0)
    bad, good = verdicts(rng.random(30), rng.integers(0, 3, 30)), verdicts(rng.random(40) - 0.2, [0] * 40)
    labels, clean_labels = np.zeros(30, int), np.r_[np.zeros(30, int), np.ones(10, int)]
    summary = summarise(bad, labels, good, clean_labels, seed=1)
    fooling = bad.predicted != 0
    assert summary.clean == 30
    assert summary.clean_flagged == int(good.flagged[:30].sum())
    assert (summary.clean_all, summary.clean_all_flagged) == (40, int(good.flagged.sum()))
    y = np.repeat([1, 0], [fooling.sum(), 30])
    wanted = roc_auc_score(y, np.r_[bad.scores[fooling], good.scores[:30]])
    assert summary.auc["ours"].value == pytest.approx(wanted)
    assert summary.auc["ours"].low < wanted < summary.auc["ours"].high
    energy = -np.log(np.exp(np.r_[bad.features.logits[fooling], good.features.logits[:30]]).sum(1))
    assert summary.auc["energy"].value == pytest.approx(roc_auc_score(y, energy))


def test_where_nothing_fools_the_network_there_is_no_auc():
    summary = summarise(verdicts([0.9, 0.1], [0, 1]), np.array([0, 1]), verdicts([0.1, 0.2], [0, 0]))
    assert summary.fooling == 0
    assert summary.auc is None
    assert summary.found is None


def test_labels_of_another_number_of_images_are_refused():
    with pytest.raises(InputError, match="for each of 2 images"):
        summarise(verdicts([0.9, 0.1], [0, 1]), np.array([0]))
