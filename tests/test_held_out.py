import pytest

from effpath.detect.splits import unseen_rows, without_mistakes
from effpath.errors import InputError

ABOUT = {"data": "digits", "part": "test", "part_size": 6, "rows": {"fit": [0, 3], "calibrate": [4], "wrong": [1]}}


def test_what_was_drawn_for_nothing_is_left_out_too():
    assert unseen_rows(ABOUT, "digits", "test", 6).tolist() == [2, 5]


@pytest.mark.parametrize("other", [("mnist", "test", 6), ("digits", "train", 6), ("digits", "test", 7)])
def test_other_data_another_part_or_another_size_are_refused(other):
    with pytest.raises(InputError, match="expected the data that the detector was made from"):
        unseen_rows(ABOUT, *other)


def test_a_detector_that_says_nothing_of_its_data_is_refused():
    with pytest.raises(InputError, match="expected the data"):
        unseen_rows({}, "digits", "test", 6)


def test_where_nothing_is_left_it_says_so():
    with pytest.raises(InputError, match="all 6 images of digits test"):
        unseen_rows({**ABOUT, "rows": {"fit": [0, 1, 2], "calibrate": [3, 4, 5]}}, "digits", "test", 6)


def test_what_a_threshold_was_fixed_on_is_known_of_files_of_an_earlier_version_too():
    assert without_mistakes(ABOUT)
    assert not without_mistakes({**ABOUT, "calibrated_mistakes": 0})
    assert not without_mistakes({})
