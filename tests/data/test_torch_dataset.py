"""Torch data sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, Subset, TensorDataset

import effpath
from digits_net import class_paths, data, graph
from effpath.data import from_torch
from effpath.errors import InputError


def test_class_paths_over_a_torch_data_set_are_those_over_its_tensors():
    images, labels = data().train_images[:400], data().train_labels[:400]
    part = from_torch(TensorDataset(images, labels))
    built = effpath.build_class_paths(graph(), part.images, part.labels, batch_size=64)
    assert all(built[label] == class_paths()[label] for label in range(10))


def test_labels_come_from_targets_without_reading_an_item():
    class Named(torch.utils.data.Dataset):
        targets = (3, 1)

        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise AssertionError

    assert from_torch(Named()).labels.tolist() == [3, 1]
    with pytest.raises(InputError, match="a label for each of 2 items"):
        from_torch(Named(), [1, 2, 3])


def test_pictures_become_images_in_zero_to_one():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    part = from_torch([(Image.fromarray(pixels), 0), (Image.fromarray(pixels), 1)])
    np.testing.assert_allclose(part.images[:1][0].numpy() * 255, pixels.transpose(2, 0, 1), rtol=1e-6)
    assert from_torch([(Image.fromarray(pixels[..., 0]), 0)]).images[:].shape == (1, 1, 4, 5)


def test_a_part_of_a_torch_data_set_is_indexed_like_any_other():
    part = from_torch(Subset(TensorDataset(torch.arange(20.0).reshape(5, 1, 2, 2), torch.arange(5)), [4, 2, 0]))
    assert part.labels.tolist() == [4, 2, 0]
    assert part.images[torch.tensor([False, True, False])].flatten().tolist() == [8, 9, 10, 11]
    assert part.images[3:].shape == (0, 1, 2, 2)
    assert part.take(torch.tensor([2])).images[:].flatten().tolist() == [0, 1, 2, 3]


def test_other_data_sets_are_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(1, 2, 2), 0

    with pytest.raises(InputError, match="map-style"):
        from_torch(Stream())
    with pytest.raises(InputError, match="item 0"):
        from_torch([torch.zeros(1, 2, 2)])
    for item in ((torch.zeros(2, 2), 0), (torch.zeros(1, 2, 2, dtype=torch.uint8), 0), ("a.png", 0)):
        with pytest.raises(InputError, match=r"expected a float image \[C, H, W\] in item 0"):
            from_torch([item]).images[:]
