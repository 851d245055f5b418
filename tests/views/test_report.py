"""A report holds what class paths and detector say, in numbers that can be computed without it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath import ClassPaths
from effpath.data import Part
from effpath.errors import ClassPathError, FingerprintError, OptionError
from effpath.views.report.overview import overview_of
from effpath.views.report.tree import tree_of
from overviews import grouped, make_overview

LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")
LEVELS = ("synapses", "neurons", "weights")


@cache
def overview():
    return overview_of(graph(), class_paths(), name="LeNet-5")


@cache
def detector(kind="linear"):
    images = data().test_images
    made = effpath.Detector(graph(), class_paths(), kind=kind)
    made.fit(images[:60], None if kind == "clean" else noisy(images[60:120]))
    return made.calibrate(images[120:400], fpr=0.1)


def images():
    return torch.cat([data().test_images[400:410], noisy(data().test_images[410:420])])


@cache
def judged(examples=6):
    return effpath.report(graph(), detector(), images(), name="LeNet-5", examples=examples)


def some(labels):
    """The class paths of some classes alone."""
    whole = class_paths()
    return ClassPaths(whole.header, whole.levels, {label: whole[label] for label in labels}, names=whole.names)


def pairs():
    return list(combinations(range(10), 2))


def test_it_says_what_the_network_is_and_what_its_class_paths_were_built_from():
    found, whole = overview(), class_paths()
    assert (found.name, found.input_shape, found.outputs) == ("LeNet-5", (1, 8, 8), 10)
    assert found.fingerprint == graph().fingerprint
    assert tuple(layer.name for layer in found.layers) == LAYERS
    assert [layer.operator for layer in found.layers] == ["conv2d"] * 2 + ["linear"] * 3
    for layer in found.layers:
        for level in LEVELS:
            key = f"{layer.name}.weight" if level == "weights" else layer.name
            assert getattr(layer, level) == whole.header.total(level, key)
    assert (found.options.preset, found.options.theta) == ("default", 0.5)
    assert (found.data, found.seen, found.counted) == ("digits[:400]", 400, True)
    assert found.labels == tuple(range(10))
    assert found.classes == tuple("0123456789")
    assert found.class_images == tuple(whole[label].images for label in range(10))


def test_densities_are_those_of_the_overall_path_and_of_each_class_path():
    found, overall = overview(), class_paths().overall
    assert list(found.density) == list(LEVELS)
    for level in LEVELS:
        assert found.density[level] == overall.density(level)
        assert found.layer_density[level] == overall.layer_density(level)
        assert list(found.class_density[level]) == [class_paths()[label].density(level) for label in range(10)]


@pytest.mark.parametrize("level", LEVELS)
def test_similarities_are_those_of_the_class_paths_to_the_last_bit(level):
    found = overview_of(graph(), class_paths(), level=level)
    assert found.level == level
    assert np.array_equal(found.similarity, class_paths().class_similarity(level))
    layers = [class_paths()[one].layer_jaccard(class_paths()[two], level) for one, two in pairs()]
    assert list(found.layer_similarity) == class_paths().header.keys(level)
    for key, value in found.layer_similarity.items():
        assert value == pytest.approx(np.mean([shared[key] for shared in layers]), abs=1e-12)


def test_special_classes_pairs_and_layers_are_those_with_the_lowest_and_highest_means():
    found = overview()
    values = {pair: found.similarity[pair] for pair in pairs()}
    means = [np.mean([value for pair, value in values.items() if label in pair]) for label in range(10)]
    assert found.class_means.tolist() == pytest.approx(means)
    assert found.mean_class_similarity == pytest.approx(np.mean(list(values.values())))
    assert found.most_special == str(int(np.argmin(means)))
    assert found.least_special == str(int(np.argmax(means)))
    assert found.closest_pair[:2] == max(values, key=values.get)
    assert found.farthest_pair[:2] == min(values, key=values.get)
    for place in range(10):
        nearest = found.nearest(place)
        assert nearest.similarity == max(value for pair, value in values.items() if place in pair)
        assert found.similarity[place, nearest.second] == nearest.similarity
    apart = [value for _, value in found.layers_apart]
    assert apart == sorted(apart)
    assert {key for key, _ in found.layers_apart} == set(LAYERS)


def test_progress_counts_pairs_of_classes():
    told = []
    overview_of(graph(), class_paths(), progress=lambda *counts: told.append(counts))
    assert told[-1] == (45, 45)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_tree_puts_classes_of_a_group_side_by_side_the_same_way_each_time():
    similarity = grouped(12)
    tree = tree_of(similarity)
    groups = [place % 3 for place in tree.order.tolist()]
    assert sorted(tree.order.tolist()) == list(range(12))
    assert sum(one != two for one, two in pairwise(groups)) == 2
    assert np.array_equal(tree.order, tree_of(similarity.copy()).order)


def test_neighbours_in_the_tree_are_at_least_as_alike_as_in_the_tree_as_it_was_joined():
    from scipy.cluster.hierarchy import leaves_list, linkage

    similarity = overview().similarity
    joined = leaves_list(linkage(1 - similarity[np.triu_indices(10, 1)], "average"))

    def alike(order):
        return sum(similarity[one, two] for one, two in pairwise(order))

    assert alike(overview().tree.order) >= alike(joined) - 1e-12


def test_the_lines_of_a_tree_join_classes_at_their_distance():
    similarity = np.array([[1, 0.1, 0.9], [0.1, 1, 0.2], [0.9, 0.2, 1]])
    tree = tree_of(similarity)
    x, height = (values.reshape(2, 5) for values in tree.lines())
    place = {label: at + 0.5 for at, label in enumerate(tree.order.tolist())}
    assert height[:, 1] == pytest.approx([0.1, 0.85])
    assert {x[0, 0], x[0, 2]} == {place[0], place[2]}
    assert {x[1, 0], x[1, 2]} == {place[1], (place[0] + place[2]) / 2}
    assert np.isnan(x[:, 4]).all()
    assert np.isnan(height[:, 4]).all()


def test_two_classes_are_a_tree_of_one_joint_and_nan_counts_as_nothing_shared():
    tree = tree_of(np.array([[1, np.nan], [np.nan, 1]]))
    assert sorted(tree.order.tolist()) == [0, 1]
    assert tree.merges[0, 2] == 1


@pytest.mark.parametrize(("labels", "said"), [([3], "of class 3 alone"), ([], "of no class")])
def test_fewer_than_two_classes_are_refused(labels, said):
    with pytest.raises(ClassPathError, match=f"at least two classes, to compare them, got those {said}"):
        effpath.report(graph(), some(labels))


def test_another_network_and_a_level_that_is_not_kept_are_refused():
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    with pytest.raises(FingerprintError):
        effpath.report(effpath.capture(other, torch.rand(1, 1, 4, 4)), class_paths())
    with pytest.raises(OptionError, match="level must be one of"):
        effpath.report(graph(), class_paths(), level="atoms")


def test_two_classes_make_a_report():
    found = effpath.report(graph(), some([2, 7]), classes=[f"<{label}>" for label in range(10)])
    assert found.overview.labels == (2, 7)
    assert found.overview.classes == ("2 (<2>)", "7 (<7>)")
    shared = class_paths()[2].jaccard(class_paths()[7])
    assert found.overview.mean_class_similarity == pytest.approx(shared)
    assert "2 (&lt;2&gt;)" in found.html


def test_of_class_paths_alone_nothing_is_said_of_a_detector():
    found = effpath.report(graph(), class_paths())
    assert (found.calibration, found.findings) == (None, None)
    values = json.loads(found.json)
    assert (values["detector"], values["findings"]) == (None, None)
    with pytest.raises(OptionError, match="expected a detector to judge images"):
        effpath.report(graph(), class_paths(), images())


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_the_calibration_is_that_of_the_detector(kind):
    found = effpath.report(graph(), detector(kind)).calibration
    scores = np.sort(detector(kind).score(data().test_images[120:400]))
    assert (found.kind, found.threshold, found.fpr) == (kind, detector(kind).threshold, 0.1)
    assert np.array_equal(found.scores, scores)
    assert found.above == np.mean(scores > found.threshold) <= 0.1
    assert found.quantiles[0.0] == scores[0]
    assert found.quantiles[1.0] == scores[-1]
    for share, score in found.quantiles.items():
        assert np.mean(scores <= score) >= share
        assert np.mean(scores < score) <= share


def test_scores_that_a_file_does_not_hold_are_left_out():
    made = effpath.Detector(graph(), class_paths(), kind="linear")
    made.fit(data().test_images[:60], noisy(data().test_images[60:120]))
    found = effpath.report(graph(), made).calibration
    assert (found.threshold, found.scores, found.quantiles) == (None, None, {})
    with pytest.raises(OptionError, match="no threshold yet"):
        effpath.report(graph(), made, images())
    made.threshold, made.fpr = 0.5, 0.1
    html = effpath.report(graph(), made).html
    assert "an earlier version wrote the file" in html


def test_what_a_detector_says_of_its_data_is_told_by_counts():
    made = effpath.Detector(graph(), class_paths(), kind="linear")
    made.fit(data().test_images[:60], noisy(data().test_images[60:120])).calibrate(data().test_images[120:200])
    attacks = {"FGSM": {"settings": {"epsilons": 100}, "tried": 60, "succeeded": 45}}
    made.about = {"data": "digits", "rows": {"fit": [1, 2, 3], "calibrate": [4, 5]}, "attacks": attacks}
    found = effpath.report(graph(), made)
    assert found.calibration.about == {"data": "digits", "images": {"fit": 3, "calibrate": 2}, "attacks": attacks}
    assert "epsilons 100" in found.html
    assert "75\u202f%" in found.html
    assert "fixed on images that the network gets right, and promises nothing of others" in found.html
    made.about["calibrated_mistakes"] = 3
    html = effpath.report(graph(), made).html
    assert "include the 3 that the network gets wrong" in html
    assert "promises nothing" not in html


def test_verdicts_are_those_of_the_detector_the_most_suspicious_first():
    found = judged().findings
    verdicts = detector().detect(images())
    assert np.array_equal(found.verdicts.scores, verdicts.scores)
    assert verdicts.scores[found.order].tolist() == sorted(verdicts.scores.tolist(), reverse=True)
    assert found.summary.images == 20
    assert found.summary.flagged == int(verdicts.flagged.sum()) > 0
    rows = json.loads(judged().json)["findings"]["rows"]
    assert [row["score"] for row in rows] == sorted(verdicts.scores.tolist(), reverse=True)
    assert [row["image"] for row in rows] == [f"image {row}" for row in found.order]


@pytest.mark.parametrize("examples", [0, 2, 6])
def test_examples_are_explanations_of_the_most_suspicious_flagged_images(examples):
    found = judged(examples).findings
    flagged = [row for row in found.order if found.verdicts.flagged[row]][:examples]
    assert [one.name for one in found.examples] == [f"image {row}" for row in flagged]
    for one, row in zip(found.examples, flagged, strict=True):
        (wanted,) = effpath.explain(detector(), images()[row : row + 1], names=[f"image {row}"])
        assert one.to_dict() == wanted.to_dict()
    assert judged(examples).html.count("<article") == len(flagged)


def test_labels_and_names_come_with_a_part_of_a_data_set():
    labels = data().test_labels[:40]
    part = Part(data().test_images[:40], labels, [f"digit {row}.png" for row in range(40)])
    found = effpath.report(graph(), detector(), part).findings
    right = int((graph().predict(part.images) == labels).sum())
    assert (found.summary.labelled, found.summary.correct) == (40, right)
    assert found.names[3] == "digit 3.png"


def test_steps_are_tracked():
    steps = []

    @contextmanager
    def track(step):
        steps.append([step])
        yield lambda *counts: steps[-1].append(counts)

    effpath.report(graph(), detector(), images(), examples=1, track=track)
    assert [step[0] for step in steps] == [
        "10 class paths compared",
        "paths of 20 images",
        "1 flagged images explained",
    ]
    assert [step[-1] for step in steps] == [(45, 45), (20, 20), (1, 1)]


def test_json_has_every_number_of_the_overview_by_output():
    values = json.loads(judged().json)
    found = overview()
    assert values["mean_class_similarity"] == found.mean_class_similarity
    assert values["most_special"] == int(found.most_special)
    assert values["closest_pair"]["classes"] == list(found.closest_pair[:2])
    assert values["order"] == found.tree.order.tolist()
    assert np.array(values["class_similarity"]) == pytest.approx(found.similarity, abs=1e-6)
    assert [row["class"] for row in values["classes"]] == list(range(10))
    for place, row in enumerate(values["classes"]):
        assert row["mean_similarity"] == found.class_means[place]
        assert row["density"] == {level: found.class_density[level][place] for level in LEVELS}
    assert values["layer_similarity"] == dict(found.layer_similarity)


def test_json_has_null_for_what_is_not_known():
    found = effpath.Report(make_overview(layer_similarity={"conv1": float("nan")}))
    assert json.loads(found.json, parse_constant=pytest.fail)["layer_similarity"] == {"conv1": None}


def test_a_report_is_saved_as_a_page_or_as_numbers(tmp_path):
    found = judged()
    found.save(tmp_path / "report.html")
    found.save(tmp_path / "report.json")
    assert (tmp_path / "report.html").read_text("utf-8") == found.html
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == json.loads(found.json)
    with pytest.raises(OptionError, match=r"expected a file that ends in .html or .json, got"):
        found.save(tmp_path / "report.pdf")


def test_fewer_than_no_examples_are_refused():
    with pytest.raises(OptionError, match="expected examples of at least 0, got -1"):
        effpath.report(graph(), detector(), images(), examples=-1)
