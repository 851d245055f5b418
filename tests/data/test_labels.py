"""Matching the classes of a data set with the outputs of a network."""

from __future__ import annotations

import json

import pytest

from effpath.data import align_labels
from effpath.data.labels import read_class_map
from effpath.errors import InputError, StoreError


@pytest.mark.parametrize(
    ("classes", "outputs", "namings", "wanted"),
    [
        (["a", "b", "c"], 3, [], [0, 1, 2]),
        (["b", "c"], 3, [["a", "b", "c"]], [1, 2]),
        (["c", "b", "a"], 3, [["a", "b", "c"]], [2, 1, 0]),
        (["Cassette_Player", "tench"], 3, [["tench", "x", "cassette player"]], [2, 0]),
        (["Tinca tinca"], 2, [["goldfish", "tench, Tinca tinca"]], [1]),
        (["n02", "n01"], 2, [["tench", "goldfish"], ["n01", "n02"]], [1, 0]),
        (["x", "y"], 2, [["tench", "goldfish"]], [0, 1]),
        (["0", "1"], 10, [[]], [0, 1]),
    ],
)
def test_classes_go_by_name_and_else_by_order(classes, outputs, namings, wanted):
    assert align_labels(classes, outputs, *namings).tolist() == wanted


def test_a_name_of_two_outputs_is_not_guessed():
    with pytest.raises(InputError, match=r"cannot be matched.*3 outputs"):
        align_labels(["crane"], 3, ["crane", "crane, machine", "x"])


def test_classes_that_cannot_be_matched_ask_for_a_map():
    with pytest.raises(InputError, match="--class-map"):
        align_labels(["cat", "dog"], 1000, ["tench"] * 1000)
    with pytest.raises(InputError, match="3 classes"):
        align_labels(["0", "1", "2"], 2)


def test_a_map_decides_where_it_is_given(tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({"cat": 281, "dog": 207}))
    class_map = read_class_map(tmp_path / "map.json")
    assert align_labels(["dog", "cat"], 1000, class_map=class_map).tolist() == [207, 281]
    (tmp_path / "map.json").write_text(json.dumps({"cat": 281, "dog": 207}), encoding="utf-8-sig")
    assert read_class_map(tmp_path / "map.json") == class_map
    with pytest.raises(InputError, match="no entry for cow"):
        align_labels(["dog", "cow"], 1000, class_map=class_map)
    with pytest.raises(InputError, match="outside 0 … 9"):
        align_labels(["dog"], 10, class_map=class_map)
    for text in ("[1]", '{"cat": "281"}', '{"cat": true}', "{"):
        (tmp_path / "map.json").write_text(text)
        with pytest.raises(StoreError, match="class map"):
            read_class_map(tmp_path / "map.json")


@pytest.mark.parametrize(
    ("classes", "outputs", "wanted"),
    [
        (["3", "8"], 10, [3, 8]),  # two of ten digits
        (["9"], 10, [9]),
        (["00", "03", "07"], 10, [0, 3, 7]),
        (
            sorted(map(str, range(12))),
            12,
            [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9],
        ),  # not in the order of the folders
        (sorted(map(str, range(100))), 1000, sorted(range(100), key=str)),
    ],
)
@pytest.mark.parametrize("namings", [[], [["tench"] * 12]])
def test_classes_that_are_numbers_go_to_the_outputs_of_these_numbers(classes, outputs, wanted, namings):
    assert align_labels(classes, outputs, *namings).tolist() == wanted


@pytest.mark.parametrize("classes", [[str(i) for i in range(1, 11)], ["3", "10"], ["1", "01"]])
def test_numbers_that_are_no_outputs_ask_for_a_map(classes):
    with pytest.raises(InputError, match="--class-map"):
        align_labels(classes, 10)


def test_classes_of_which_only_some_are_names_of_outputs_are_not_taken_in_order():
    with pytest.raises(InputError, match=r"no output is named fsh; give --class-map"):
        align_labels(["bird", "cat", "fsh"], 3, ["cat", "bird", "fish"])
    assert align_labels(["n02", "n01"], 2, ["n01", "x"], ["n01", "n02"]).tolist() == [
        1,
        0,
    ]  # a later naming knows all


def test_two_classes_of_one_output_are_refused_unless_a_map_says_so():
    with pytest.raises(InputError, match="got tench and Tinca tinca for output 1"):
        align_labels(["tench", "Tinca tinca"], 2, ["goldfish", "tench, Tinca tinca"])
    assert align_labels(["a", "b"], 2, class_map={"a": 1, "b": 1}).tolist() == [1, 1]
