"""How clean images spread: what an image's similarities are laid beside."""

import numpy as np
import pytest

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.detect.band import ENOUGH, CleanRows
from effpath.detect.saved import WHAT, open_detector
from effpath.errors import StoreError
from effpath.files.sealed import SealedFile
from guard_files import rewritten, write_guard


def opened(file):
    with SealedFile(file, WHAT) as sealed:
        return open_detector(sealed, graph())


def test_calibrating_keeps_the_rank_1_similarities_of_its_images_whatever_the_kind_reads():
    images = data().test_images
    for kind in ("linear", "surprise"):
        detector = effpath.Detector(graph(), class_paths(), kind=kind).fit(images[:60], noisy(images[60:120]))
        assert detector.clean_rows is None
        detector.calibrate(images[120:200], fpr=0.1)
        features = detector.features(images[120:200])
        assert np.array_equal(detector.clean_rows.values, features.values[:, :5], equal_nan=True)
        assert np.array_equal(detector.clean_rows.classes, features.classes[:, 0])
        detector.fit(images[:60], noisy(images[60:120]))
        assert detector.clean_rows is None


def test_a_band_holds_the_middle_of_its_class_and_of_all_classes_where_its_own_are_few():
    values = np.random.default_rng(0).random((3 * ENOUGH, 2))
    values[:, 1] = np.nan
    values[3, 1] = 0.5
    classes = np.repeat([4, 7], [2 * ENOUGH, ENOUGH])
    classes[-1] = 9
    rows = CleanRows(values, classes)
    own, few = rows.band(4), rows.band(7)
    assert (own.images, own.label) == (2 * ENOUGH, 4)
    assert (few.images, few.label) == (3 * ENOUGH, None)
    assert own.low[0] == np.quantile(values[: 2 * ENOUGH, 0], 0.05)
    assert own.median[0] == np.quantile(values[: 2 * ENOUGH, 0], 0.5)
    assert few.high[0] == np.quantile(values[:, 0], 0.95)
    assert own.low[1] == own.high[1] == 0.5
    assert np.isnan(CleanRows(values[4:], classes[4:]).band(4).low[1])


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_a_file_keeps_them_to_the_last_bit(kind, tmp_path):
    detector = write_guard(tmp_path, kind)
    file = tmp_path / "guard.safetensors"
    for found in (effpath.load_detector(file, graph()), opened(file)):
        assert np.array_equal(found.clean_rows.values, detector.clean_rows.values, equal_nan=True)
        assert np.array_equal(found.clean_rows.classes, detector.clean_rows.classes)


def test_a_file_of_an_earlier_version_has_none_and_one_of_other_lengths_is_refused(tmp_path):
    write_guard(tmp_path)
    file = tmp_path / "guard.safetensors"
    rewritten(file, lambda _, arrays: arrays.update({"detector/clean_classes": np.zeros(3, np.int64)}))
    with pytest.raises(StoreError, match="80 clean images in one place, 3 in another"):
        opened(file)
    write_guard(tmp_path)
    rewritten(file, lambda _, arrays: [arrays.pop(f"detector/clean_{name}") for name in ("values", "classes")])
    assert opened(file).clean_rows is None
    assert effpath.load_detector(file, graph()).clean_rows is None
