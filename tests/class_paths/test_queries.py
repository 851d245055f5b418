"""What class paths are asked: how alike they are, how dense, how they grow; the sets themselves are the oracle."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import effpath
from digits_net import class_paths, data, graph
from effpath.class_paths.growth import expected_sizes
from effpath.errors import OptionError
from effpath.rules import LEVELS


def thresholded(label: int, level: str, minimum: int) -> set[tuple[str, int]]:
    """The members that at least so many images used, with their sets' names."""
    path, counts = class_paths()[label], class_paths().counts[label][level]
    return {
        (key, member)
        for key, members in path.sets(level).items()
        for member, used in zip(members.ids.tolist(), counts[key].tolist(), strict=True)
        if used >= minimum
    }


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("minimum", [1, 3])
def test_the_similarity_of_classes_is_the_jaccard_of_what_enough_images_used(level, minimum) -> None:
    matrix = class_paths().class_similarity(level, minimum=minimum)
    sets = {label: thresholded(label, level, minimum) for label in (0, 3, 8)}
    for one, two in combinations(sets, 2):
        assert matrix[one, two] == matrix[two, one] == len(sets[one] & sets[two]) / len(sets[one] | sets[two])
    assert (np.diag(matrix) == 1).all()


def test_the_similarity_of_empty_sets_is_not_a_number() -> None:
    matrix = class_paths().class_similarity(minimum=10**6)
    assert np.isnan(matrix[np.triu_indices(10, 1)]).all()
    assert np.isnan(matrix[np.tril_indices(10, -1)]).all()


@pytest.mark.parametrize("level", LEVELS)
def test_densities_are_those_of_the_paths_layer_by_layer(level) -> None:
    densities = class_paths().densities(level)
    for row, path in zip(densities, class_paths().values(), strict=True):
        assert row.tolist() == list(path.layer_density(level).values())
    more = class_paths().densities(level, minimum=2)
    assert (more <= densities).all()
    total = sum(class_paths().header.total(level, key) for key in class_paths().header.keys(level))
    sizes = [class_paths().header.total(level, key) for key in class_paths().header.keys(level)]
    assert round(float((more[3] * sizes).sum())) == len(thresholded(3, level, 2)) < total


@pytest.mark.parametrize("level", LEVELS)
def test_growth_is_the_mean_size_of_the_unions_of_so_many_images(level) -> None:
    images, labels = data().train_images[:300], data().train_labels[:300]
    paths = effpath.extract(graph(), images)
    rows = np.flatnonzero((paths.classes == labels.numpy()) & (labels.numpy() == 3))[:5].tolist()
    built = effpath.build_class_paths(graph(), images[rows], labels[rows])
    found = built.growth(3, [0, 1, 2, 5], level)
    for column, key in enumerate(built.header.keys(level)):
        wanted = [
            np.mean([len(paths.union(list(drawn)).sets(level)[key]) for drawn in combinations(rows, number)])
            for number in (1, 2, 5)
        ]
        np.testing.assert_allclose(found[1:, column], wanted, rtol=1e-9)
    assert (found[0] == 0).all()
    assert (np.diff(found, axis=0) > -1e-9).all()


def test_growth_of_what_every_image_used_is_one_step() -> None:
    assert expected_sizes(np.array([4, 4], np.uint32), 4, [0, 1, 4]).round(9).tolist() == [0, 2, 2]
    assert expected_sizes(np.empty(0, np.uint32), 4, [0, 3]).tolist() == [0, 0]


def test_growth_needs_counts_and_no_more_images_than_there_are() -> None:
    with pytest.raises(OptionError, match="expected numbers of images in 0 … "):
        class_paths().growth(3, [10**6])
    images, labels = data().train_images[:60], data().train_labels[:60]
    bare = effpath.build_class_paths(
        graph(), images, labels, options=effpath.BuildOptions(counts=False, allow_missing=True)
    )
    with pytest.raises(OptionError, match="needs its use counts"):
        bare.growth(int(bare.classes[0]), [1])


def test_loaded_class_paths_are_the_same() -> None:
    loaded = class_paths().loaded()
    assert loaded == class_paths()
    assert loaded.counts.keys() == class_paths().counts.keys()
    assert loaded.shards == class_paths().shards
