"""The likelihood of a path is the mean log frequency of its elements, counted image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import effpath
from digits_net import data, graph
from effpath.class_paths.likelihood import PathLikelihood, margins
from effpath.errors import ClassPathError, FingerprintError, OptionError
from effpath.rules import LEVELS
from effpath.rules.plan import Level

IMAGES = 60


def built(**options: object) -> effpath.ClassPaths:
    images, labels = data().train_images[:IMAGES], data().train_labels[:IMAGES]
    chosen = effpath.BuildOptions(**options)  # type: ignore[arg-type]
    return effpath.build_class_paths(graph(), images, labels, options=chosen)


def by_hand(level: Level, image: effpath.Path, users: dict[int, list[effpath.Path]]) -> np.ndarray:
    """Count with Python's sets how many images of each class used each element."""
    rows = []
    for key, own in image.sets(level).items():
        used = {c: [set(path.sets(level)[key]) for path in paths] for c, paths in sorted(users.items())}
        rows.append(
            [
                np.mean([np.log((sum(e in s for s in sets) + 0.5) / (len(sets) + 1)) for e in own])
                if len(own)
                else np.nan
                for sets in used.values()
            ]
        )
    return np.array(rows)


def users_of(images: torch.Tensor, labels: torch.Tensor) -> dict[int, list[effpath.Path]]:
    paths = effpath.extract(graph(), images)
    found: dict[int, list[effpath.Path]] = {}
    for path, label, predicted in zip(paths, labels.tolist(), paths.classes.tolist(), strict=True):
        if label == predicted:
            found.setdefault(label, []).append(path)
    return found


@pytest.mark.parametrize("level", LEVELS)
def test_the_fit_is_counted_image_by_image(level: Level) -> None:
    users = users_of(data().train_images[:IMAGES], data().train_labels[:IMAGES])
    paths = effpath.extract(graph(), data().test_images[:3], rank=2)
    got = PathLikelihood(built(), level)(paths)
    for row, path in enumerate(paths):
        np.testing.assert_allclose(got[row], by_hand(level, path, users), rtol=1e-12)
    assert len(np.unique(got)) > got.size // 2


@pytest.mark.parametrize("level", LEVELS)
def test_leaving_an_image_out_is_building_without_it(level: Level) -> None:
    images, labels = data().train_images[:IMAGES], data().train_labels[:IMAGES]
    paths = effpath.extract(graph(), images[:IMAGES])
    one = int(np.flatnonzero(paths.classes == labels.numpy())[0])
    others = torch.arange(IMAGES) != one
    without = effpath.build_class_paths(graph(), images[others], labels[others])
    left_out = np.full(IMAGES, -1)
    left_out[one] = int(labels[one])
    got = PathLikelihood(built(), level)(paths, left_out=left_out)
    whole = PathLikelihood(built(), level)(paths)
    np.testing.assert_allclose(got[one], PathLikelihood(without, level)(paths)[one], rtol=1e-12)
    np.testing.assert_array_equal(np.delete(got, one, 0), np.delete(whole, one, 0))
    assert (got[one, :, int(labels[one])] < whole[one, :, int(labels[one])]).all()


def test_an_image_that_did_not_help_cannot_be_left_out() -> None:
    paths = effpath.extract(graph(), data().test_images[:20])
    with pytest.raises(ClassPathError, match="did not help to build"):
        PathLikelihood(built())(paths, left_out=np.full(20, 3))
    with pytest.raises(ClassPathError, match="no class path for class 99"):
        PathLikelihood(built())(paths, left_out=np.full(20, 99))
    with pytest.raises(OptionError, match="for each of 20 paths"):
        PathLikelihood(built())(paths, left_out=np.zeros(3, int))


@pytest.mark.parametrize("level", LEVELS)
def test_a_log_frequency_is_counted_element_by_element(level: Level) -> None:
    users = users_of(data().train_images[:IMAGES], data().train_labels[:IMAGES])
    likelihood = PathLikelihood(built(), level)
    for key in likelihood.header.keys(level):
        size = likelihood.header.universe(level, key)
        ids = np.random.default_rng(0).permutation(size)[:300]  # in any order; most of them nobody uses
        used = {c: [set(path.sets(level)[key]) for path in paths] for c, paths in users.items()}
        wanted = [
            [np.log((sum(e in s for s in used[c]) + 0.5) / (len(used[c]) + 1)) for c in (7, 2)]
            for e in ids.tolist()
        ]
        np.testing.assert_allclose(likelihood.log_frequencies(key, ids, [7, 2]), wanted, rtol=1e-12)
        everyone = likelihood.log_frequencies(key, ids)
        two = everyone[:, likelihood.columns([7, 2])]
        np.testing.assert_array_equal(two, likelihood.log_frequencies(key, ids, [7, 2]))
    assert len(np.unique(wanted)) > 3


def test_what_is_not_there_has_no_log_frequency() -> None:
    likelihood = PathLikelihood(built())
    assert likelihood.log_frequencies("fc3", np.empty(0, np.int64)).shape == (0, len(likelihood.classes))
    with pytest.raises(OptionError, match="no synapses of 'fc9'; there are those of: conv1"):
        likelihood.log_frequencies("fc9", np.arange(2))
    with pytest.raises(OptionError, match=r"numbered 0 … 839; got 0 … 840"):
        likelihood.log_frequencies("fc3", np.array([0, 840]))
    with pytest.raises(ClassPathError, match="no class path for class 99"):
        likelihood.log_frequencies("fc3", np.arange(2), [0, 99])


def test_class_paths_without_counts_have_no_likelihood() -> None:
    with pytest.raises(OptionError, match="counts=True"):
        PathLikelihood(built(counts=False))
    with pytest.raises(OptionError, match="include 'weights'"):
        PathLikelihood(built(levels=("neurons",)), "weights")


def test_paths_of_other_options_are_refused() -> None:
    with pytest.raises((FingerprintError, OptionError)):
        PathLikelihood(built())(effpath.extract(graph(), data().test_images[:2], theta=0.7))


def test_the_margin_is_the_lead_over_the_best_other_class() -> None:
    fit = np.array([[[-1.0, -3.0, -2.0], [-5.0, -4.0, -9.0]], [[np.nan] * 3, [-1.0, -2.0, -3.0]]])
    np.testing.assert_array_equal(margins(fit, np.array([0, 2])), [[1.0, -1.0], [np.nan, -2.0]])
    with pytest.raises(OptionError, match="two classes"):
        margins(fit[:, :, :1], np.array([0, 0]))


def test_training_images_fit_their_own_class_best() -> None:
    images, labels = data().train_images[:IMAGES], data().train_labels[:IMAGES]
    paths = effpath.extract(graph(), images)
    right = paths.classes == labels.numpy()
    best = PathLikelihood(built())(paths).mean(1).argmax(1)
    assert (best == paths.classes)[right].mean() > 0.9
