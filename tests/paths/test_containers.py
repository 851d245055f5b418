"""Paths and class paths keep the protocols of Python's own containers."""

from functools import cache

import numpy as np
import torch

import effpath
from container_contract import MappingContract, SequenceContract
from digits_net import data, graph
from effpath.paths.batch import Paths
from effpath.paths.rows import CompactSynapses, Ragged


@cache
def compact() -> Paths:
    return effpath.extract(graph(), data().test_images[:5])


@cache
def class_paths() -> effpath.ClassPaths:
    return effpath.build_class_paths(
        graph(),
        data().train_images[:40],
        data().train_labels[:40],
        options=effpath.BuildOptions(allow_missing=True),
        description=effpath.Description(data().classes),
    )


class TestPaths(SequenceContract):
    def made(self) -> Paths:
        return compact()

    def same(self, one, other) -> bool:
        return list(one) == list(other)

    def test_a_slice_keeps_all_that_belongs_to_its_images(self) -> None:
        whole, rows = self.made(), [3, 1]
        part = whole[rows]
        np.testing.assert_array_equal(part.classes, whole.classes[rows])
        np.testing.assert_array_equal(part.logits, whole.logits[rows])
        assert part.rank == whole.rank
        assert part.header is whole.header
        for level in ("synapses", "neurons", "weights"):
            for key, sets in whole.ragged(level).items():
                for place, row in enumerate(rows):
                    np.testing.assert_array_equal(part.ragged(level)[key][place], sets[row])
        assert whole.pixels is not None
        assert part.pixels is not None
        np.testing.assert_array_equal(part.pixels[0], whole.pixels[3])
        assert part.union() == whole.union(rows)

    def test_a_mask_of_torch_chooses_too(self) -> None:
        mask = torch.arange(len(self.made())) > 2
        assert list(self.made()[mask]) == list(self.made())[3:]


class TestPathsOfTheReference(TestPaths):
    """Sets laid end to end as int64, as the plain backend gives them."""

    def made(self) -> Paths:
        whole = compact()
        assert all(isinstance(rows, CompactSynapses) for rows in whole.synapses.values())
        synapses = {name: Ragged.join([rows]) for name, rows in whole.synapses.items()}
        neurons = {name: Ragged.join([rows]) for name, rows in whole.neurons.items()}
        return Paths(whole.header, whole.classes, whole.rank, whole.logits, synapses, neurons, whole.pixels)


class TestClassPaths(MappingContract):
    def made(self) -> effpath.ClassPaths:
        return class_paths()

    def test_its_length_is_the_number_of_classes_that_have_a_path(self) -> None:
        assert list(class_paths()) == class_paths().classes
        assert len(class_paths()) == len(class_paths().paths)
        one = data().train_labels[:40] == 3
        images, labels = data().train_images[:40][one], data().train_labels[:40][one]
        built = effpath.build_class_paths(
            graph(), images, labels, options=effpath.BuildOptions(allow_missing=True)
        )
        assert list(built) == [3]
        assert 2 not in built
