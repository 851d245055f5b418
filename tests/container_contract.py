"""What every container of the package keeps: Python's own protocol, as far as its kind has one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from effpath.errors import EffpathError


class ContainerContract:
    """Tests that each container inherits; ``made`` gives one with at least three members."""

    def made(self) -> Any:
        raise NotImplementedError

    def same(self, one: Any, other: Any) -> bool:
        return bool(one == other)

    def test_iterating_gives_as_many_members_as_its_length_says(self) -> None:
        container = self.made()
        assert len(list(container)) == len(container) >= 3

    def test_it_is_true_because_it_has_members(self) -> None:
        assert self.made()

    def test_a_pickled_and_a_copied_one_are_the_same(self) -> None:
        container = self.made()
        for other in (pickle.loads(pickle.dumps(container)), copy.deepcopy(container), copy.copy(container)):
            assert type(other) is type(container)
            assert self.same(other, container)

    def test_its_repr_is_one_short_line(self) -> None:
        shown = repr(self.made())
        assert type(self.made()).__name__ in shown
        assert "\n" not in shown
        assert len(shown) < 200


class SequenceContract(ContainerContract):
    """A sequence of images: indexed by numbers, slices, indices and masks."""

    def test_it_is_a_sequence(self) -> None:
        assert isinstance(self.made(), Sequence)
        assert next(reversed(self.made())) == self.made()[-1]

    def test_a_negative_index_counts_from_the_end(self) -> None:
        container = self.made()
        assert container[-len(container)] == container[0] == next(iter(container))
        assert container[np.int64(-1)] == container[len(container) - 1]

    @pytest.mark.parametrize("chosen", [slice(2), slice(None, None, -1), slice(1, 1), slice(-2, None)])
    def test_a_slice_is_of_the_same_kind_with_the_members_of_a_lists_slice(self, chosen: slice) -> None:
        container = self.made()
        part = container[chosen]
        assert type(part) is type(container)
        assert list(part) == list(container)[chosen]
        assert len(part[:]) == len(part)

    @pytest.mark.parametrize("kind", [list, np.array])
    def test_indices_and_masks_choose_members_in_their_order(self, kind: Any) -> None:
        container = self.made()
        members = list(container)
        assert list(container[kind([2, 0, -1, 0])]) == [members[2], members[0], members[-1], members[0]]
        mask = [i % 2 == 1 for i in range(len(container))]
        assert list(container[kind(mask)]) == members[1::2]
        assert type(container[kind(mask)]) is type(container)
        assert len(container[kind([])]) == 0

    def test_what_is_not_there_is_an_index_error_that_says_how_many_are(self) -> None:
        container = self.made()
        for index in (len(container), -len(container) - 1, [0, len(container)], [True]):
            with pytest.raises(IndexError, match=str(len(container))):
                container[index]

    @pytest.mark.parametrize("index", ["a", 1.0, None, True, [[1]], [0.5]])
    def test_what_is_no_index_is_an_error_of_ours(self, index: Any) -> None:
        with pytest.raises(EffpathError, match="expected the number of an image, a slice, indices or a mask"):
            self.made()[index]


class MappingContract(ContainerContract):
    """A mapping from classes, ascending."""

    def test_it_is_a_mapping_from_the_classes_that_it_has(self) -> None:
        container = self.made()
        assert isinstance(container, Mapping)
        assert list(container) == sorted(container.keys()) == [key for key, _ in container.items()]
        assert all(value == container[key] for key, value in container.items())
        assert len(container.values()) == len(container)
        assert dict(container) == dict(container.items())

    def test_it_equals_the_dict_of_its_members_and_its_keys_are_a_set(self) -> None:
        container = self.made()
        first = next(iter(container))
        assert container == dict(container)
        assert container != {first: container[first]}
        assert container.keys() & {first, -1} == {first}
        assert list(container.values()) == [container[key] for key in container]

    def test_membership_and_get_ask_without_an_error(self) -> None:
        container = self.made()
        first = next(iter(container))
        for key in (first, np.int64(first), np.array(first)):
            assert key in container
            assert container[key] == container.get(key) == container[first]
        for absent in (-1, 10**6, "3", 3.7, None, (first,)):
            assert absent not in container
            assert container.get(absent) is None
            assert container.get(absent, 5) == 5
            with pytest.raises((EffpathError, KeyError)):
                container[absent]
