"""A saved detector scores alone as it does with all that fitted it, and imports none of that."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import effpath
from digits_net import auxiliary_of, class_paths, data, graph, noisy
from effpath import ClassPaths
from effpath.detect.classifiers import reading_of
from effpath.detect.explain import strongest_layers, strongest_signs
from effpath.detect.features import READINGS
from effpath.detect.learned import SAVED
from effpath.detect.saved import WHAT, SavedDetector, open_detector
from effpath.errors import OptionError, StoreError
from effpath.files.sealed import SealedFile
from guard_files import NETWORK, write_guard, write_network


def opened(file, kind="linear") -> SavedDetector:
    with SealedFile(file, WHAT) as found:
        return open_detector(found, graph(), auxiliary_of(kind))


def test_every_kind_that_can_be_saved_is_read_to_score_what_its_estimator_reads():
    assert all(READINGS[learned.reads] is reading_of(kind) for kind, learned in SAVED.items())


@pytest.mark.parametrize("kind", SAVED)
def test_scores_verdicts_and_reasons_are_those_of_the_detector_to_the_last_bit(kind, tmp_path):
    write_guard(tmp_path, kind)
    detector = effpath.load_detector(tmp_path / "guard.safetensors", graph(), auxiliary=auxiliary_of(kind))
    saved = opened(tmp_path / "guard.safetensors", kind)
    features = saved.features(torch.cat([data().test_images[200:230], torch.rand(10, 1, 8, 8)]))
    assert (saved.name, saved.threshold, saved.fpr, saved.about) == (
        detector.name, detector.threshold, detector.fpr, detector.about,
    )  # fmt: skip
    alone, full = saved.detect(features), detector.detect(features)
    assert np.array_equal(alone.scores, full.scores)
    assert np.array_equal(alone.flagged, full.flagged)
    assert strongest_layers(saved, features) == strongest_layers(detector, features)
    assert strongest_signs(saved, features) == strongest_signs(detector, features)


@pytest.mark.parametrize("kind", SAVED)
def test_a_missing_similarity_takes_its_usual_value_in_both(kind, tmp_path):
    write_guard(tmp_path, kind)
    detector = effpath.load_detector(tmp_path / "guard.safetensors", graph(), auxiliary=auxiliary_of(kind))
    saved = opened(tmp_path / "guard.safetensors", kind)
    columns = saved.read(saved.features(data().test_images[200:220]))
    columns[::2, 0] = np.nan
    assert np.array_equal(saved.scoring(columns), detector.scoring(columns))
    filled = detector.classifier[0].transform(columns)
    assert np.array_equal(saved.scoring.filled(columns), filled)


@pytest.mark.parametrize("kind", SAVED)
def test_an_image_of_a_class_without_a_path_is_flagged_by_both(kind, tmp_path):
    whole, images = class_paths(), data().test_images
    known = ClassPaths(
        whole.header, whole.levels, {c: whole[c] for c in whole if c != 3},
        {c: counts for c, counts in whole.counts.items() if c != 3},
    )  # fmt: skip
    detector = effpath.Detector(graph(), known, kind=kind, auxiliary=auxiliary_of(kind))
    detector.fit(images[:60], None if kind == "clean" else noisy(images[60:120])).calibrate(
        images[120:200], fpr=0.3
    )
    effpath.save_detector(detector, tmp_path / "guard.safetensors")
    saved = opened(tmp_path / "guard.safetensors", kind)
    features = saved.features(images[200:260])
    alone, full = saved.detect(features), detector.detect(images[200:260])
    unknown = features.classes[:, 0] == 3
    assert unknown.any()
    assert alone.flagged[unknown].all()
    assert np.isinf(alone.scores[unknown]).all()
    assert np.array_equal(alone.scores, full.scores)


def test_what_is_no_detector_and_what_has_no_threshold_is_refused(tmp_path):
    detector = write_guard(tmp_path)
    effpath.save_class_paths(detector.class_paths, tmp_path / "paths.safetensors")
    with pytest.raises(StoreError, match="expected a detector"):
        opened(tmp_path / "paths.safetensors")
    detector.threshold = None
    effpath.save_detector(detector, tmp_path / "guard.safetensors")
    saved = opened(tmp_path / "guard.safetensors")
    with pytest.raises(OptionError, match="no threshold"):
        saved.detect(saved.features(data().test_images[:2]))


def test_detect_imports_no_torch_export_and_nothing_that_fits_detectors(tmp_path):
    write_network(tmp_path)
    write_guard(tmp_path, "surprise")
    np.save(tmp_path / "one.npy", data().test_images[300:301].numpy())
    code = (
        "import sys; from effpath.cli import main\n"
        "try: main()\nexcept SystemExit as leaving: assert not leaving.code, leaving.code\n"
        "print(sorted({'torch.export._trace', 'torch._dynamo', 'sklearn', 'scipy.stats', 'matplotlib', 'foolbox', "
        "'torchvision', 'timm'} & sys.modules.keys()), 'numba' in sys.modules)"
    )
    words = ["detect", NETWORK[0], "guard.safetensors", "one.npy", *NETWORK[1:], "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0 of 1 images flagged" in done.stdout or "1 of 1 images flagged" in done.stdout
    assert done.stdout.splitlines()[-1] == "[] True"
