"""Images with labels: tensors, torch's data sets and loaders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

import effpath
from digits_net import class_paths, data, graph
from effpath.data import from_torch
from effpath.errors import InputError
from effpath.images import labelled


def test_class_paths_over_a_torch_data_set_are_those_over_its_tensors():
    images, labels = data().train_images[:400], data().train_labels[:400]
    part = from_torch(TensorDataset(images, labels))
    built = effpath.build_class_paths(
        graph(), part.images, part.labels, options=effpath.BuildOptions(batch_size=64)
    )
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


class Vision(torch.utils.data.Dataset):
    """A data set as torchvision's are made: targets, and a transform of them on the way to an item."""

    targets = (7, 7, 4)

    def __init__(self, target_transform=None, transforms=None):
        self.target_transform, self.transforms = target_transform, transforms

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image, label = torch.zeros(1, 2, 2), self.targets[index]
        if self.target_transform:
            label = self.target_transform(label)
        return self.transforms(image, label) if self.transforms else (image, label)


def test_labels_are_what_the_items_say_after_every_transform():
    assert from_torch(Vision()).labels.tolist() == [7, 7, 4]
    assert from_torch(Vision(target_transform=lambda label: label - 5)).labels.tolist() == [2, 2, -1]
    assert from_torch(Vision(transforms=lambda image, label: (image, label + 1))).labels.tolist() == [8, 8, 5]


def test_a_target_transform_of_torchvision_is_heard(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "x.png")
    turned = torchvision.datasets.ImageFolder(tmp_path, target_transform=lambda label: 1 - label)
    assert from_torch(turned).labels.tolist() == [1, 0]
    plain = torchvision.datasets.ImageFolder(tmp_path, transform=torchvision.transforms.ToTensor())
    assert from_torch(plain).labels.tolist() == [0, 1]


def test_an_item_that_says_another_label_than_the_targets_is_refused():
    class Relabelled(Vision):
        def __getitem__(self, index):
            return torch.zeros(1, 2, 2), 2 if index == 1 else self.targets[index]

    images = from_torch(Relabelled()).images
    assert images[:1].shape == (1, 1, 2, 2)
    with pytest.raises(InputError, match=r"expected the label 7 in item 1 .*got 2; pass the correct labels"):
        images[:]
    assert from_torch(Relabelled(), [7, 2, 4]).images[:].shape == (3, 1, 2, 2)


FLOATS = [1.7, 1.0, np.float32(1.7), torch.tensor(1.7), "cat", None, torch.tensor([1, 2]), 1j]


@pytest.mark.parametrize("label", FLOATS, ids=repr)
def test_labels_that_are_no_whole_numbers_are_refused(label):
    image = torch.zeros(1, 2, 2)
    with pytest.raises(InputError, match="expected an integer as the label of item 1"):
        from_torch([(image, 0), (image, label)])
    with pytest.raises(InputError, match="expected an integer as the label of item 1"):
        from_torch([(image, 0), (image, 0)], [0, label])


@pytest.mark.parametrize("labels", [torch.tensor([0.0, 1.7]), np.array([0.0, 1.7])], ids=["torch", "numpy"])
def test_arrays_of_labels_that_are_no_whole_numbers_are_refused(labels):
    image = torch.zeros(1, 2, 2)
    with pytest.raises(InputError, match="expected an integer as the label of item 0"):
        from_torch([(image, 0), (image, 0)], labels)
    with pytest.raises(InputError, match="expected an integer as the label of item 0"):
        from_torch(TensorDataset(torch.zeros(2, 1, 2, 2), torch.as_tensor(labels)))


@pytest.mark.parametrize(
    "label", [3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor(3, dtype=torch.uint8)]
)
def test_whole_numbers_of_every_type_are_labels(label):
    assert from_torch([(torch.zeros(1, 2, 2), label)]).labels.tolist() == [3]
    assert from_torch([(torch.zeros(1, 2, 2), 0)], [label]).labels.tolist() == [3]


PLAIN = TensorDataset(torch.arange(20.0).reshape(5, 1, 2, 2), torch.tensor([4, 3, 2, 1, 0]))


@pytest.mark.parametrize(
    ("loader", "rows"),
    [
        (DataLoader(PLAIN, batch_size=2), [0, 1, 2, 3, 4]),
        (DataLoader(PLAIN, batch_size=2, shuffle=True, drop_last=True), [0, 1, 2, 3, 4]),
        (DataLoader(PLAIN, batch_size=None), [0, 1, 2, 3, 4]),
        (DataLoader(PLAIN, sampler=SubsetRandomSampler([3, 1])), [1, 3]),
        (DataLoader(PLAIN, batch_sampler=BatchSampler([3, 1, 3], 2, drop_last=False)), [1, 3]),
        (DataLoader(PLAIN, batch_sampler=[[4], [0, 2]]), [0, 2, 4]),
        (DataLoader(Subset(PLAIN, [4, 2, 0]), sampler=[2, 0]), [4, 0]),
    ],
    ids=["in order", "shuffled", "no batches", "a subset", "batches of a list", "batches", "a subset of a subset"],
)
def test_a_loader_is_the_images_that_its_sampler_visits_each_once_in_the_order_of_the_data_set(loader, rows):
    images, labels = labelled(loader)
    assert torch.equal(images[:], PLAIN.tensors[0][rows])
    assert torch.equal(labels, PLAIN.tensors[1][rows])
    assert images[:0].shape == (0, 1, 2, 2)


@pytest.mark.parametrize("generator", [None, torch.Generator()], ids=["of torch", "of the sampler"])
def test_a_loader_shuffles_afterwards_as_if_it_had_not_been_looked_at(generator):
    def order(look):
        (generator or torch.default_generator).manual_seed(3)
        loader = DataLoader(PLAIN, sampler=RandomSampler(PLAIN, generator=generator))
        if look:
            labelled(loader)
        return [int(label) for _, label in loader]

    assert order(look=True) == order(look=False)


def test_a_loader_that_makes_its_batches_in_another_way_is_refused():
    with pytest.raises(InputError, match=r"default_collate, got one with <lambda>.*or give images and labels as"):
        labelled(DataLoader(PLAIN, collate_fn=lambda items: items, batch_size=2))


def test_a_stream_is_refused_in_a_loader_too():
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(1, 2, 2), 0

        def __len__(self):
            return 1

    with pytest.raises(InputError, match=r"map-style data set, .*got Stream; convert a stream"):
        labelled(DataLoader(Stream()))


def test_tensors_and_arrays_come_back_with_the_labels_beside_them():
    images, labels = PLAIN.tensors
    for given in (images, images.numpy(), list(images), tuple(images.numpy()), images.tolist()):
        found, known = labelled(given, labels)
        assert found is given
        assert known is labels
    with pytest.raises(InputError, match="labels beside the images, one for each, got none for a Tensor"):
        labelled(images)
    with pytest.raises(InputError, match="as item 0 of the data set, got Tensor"):
        labelled(list(images))


def test_labels_beside_a_loader_are_those_of_the_items_of_its_data_set():
    assert labelled(DataLoader(PLAIN, sampler=[3, 1]), [10, 11, 12, 13, 14])[1].tolist() == [11, 13]


def test_a_subset_knows_the_targets_of_its_data_set_without_reading_an_item():
    class Unread(Vision):
        def __getitem__(self, index):
            raise AssertionError

    assert labelled(Subset(Subset(Unread(), [2, 1]), [0]))[1].tolist() == [4]
