"""A graph is called as its model is, and says which class it gives each image, however many there are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import effpath
from cases import Call
from effpath.errors import InputError, NumericalError, OptionError
from effpath.graph import inputs

IMAGES = torch.rand(7, 1, 2, 3, generator=torch.Generator().manual_seed(0))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).eval()


@cache
def graph_of_model() -> effpath.Graph:
    return effpath.capture(model(), IMAGES)


class Lazy:
    """Images that are read as they are indexed, and how many at a time."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.read = images, []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> Tensor:
        self.read.append(len(self.images[rows]))
        return self.images[rows]


def test_a_graph_gives_the_logits_of_its_model_and_as_many_as_it_has_classes() -> None:
    graph = graph_of_model()
    logits = graph(IMAGES)
    torch.testing.assert_close(logits, model()(IMAGES).detach())
    assert logits.shape == (7, graph.classes)
    assert not logits.requires_grad
    torch.testing.assert_close(graph(IMAGES.numpy()), logits)
    with pytest.raises(InputError, match="expected images of shape"):
        graph(IMAGES[0])


def test_a_graph_that_takes_one_image_at_a_time_gives_the_logits_of_a_batch() -> None:
    graph = graph_of_model()
    alone = replace(graph, batched=False)
    assert torch.equal(alone(IMAGES), torch.cat([graph(image[None]) for image in IMAGES]))


@pytest.mark.parametrize("batch_size", [None, 1, 3, 7, 100])
def test_predictions_do_not_depend_on_how_images_are_batched_or_read(batch_size: int | None) -> None:
    graph, lazy = graph_of_model(), Lazy(IMAGES)
    found = graph.predict(lazy, batch_size)
    assert found.dtype == torch.int64
    assert found.tolist() == graph(IMAGES).argmax(1).tolist() == graph.predict(IMAGES, batch_size).tolist()
    assert max(lazy.read) == min(batch_size or 7, 7)


def test_images_are_predicted_as_memory_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, lazy = graph_of_model(), Lazy(IMAGES)
    each = sum(value.nbytes for value in graph.run(IMAGES[:1], graph.live).values())
    assert each >= 4 * (6 + 6 + 5 + 5 + 4)  # the image, flattened, and three layers
    monkeypatch.setattr(inputs, "ACTIVATION_BYTES", 3 * each)
    assert graph.predict(lazy).tolist() == graph(IMAGES).argmax(1).tolist()
    assert lazy.read == [3, 3, 1]


def test_of_equal_logits_the_lowest_class_is_predicted_as_walks_start_there() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).eval()
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.tensor([0.0, 1.0, 1.0, 0.5]))
    graph = effpath.capture(net, IMAGES)
    assert graph.predict(IMAGES).tolist() == effpath.extract(graph, IMAGES).classes.tolist() == [1] * 7


def test_no_images_have_no_predictions() -> None:
    assert graph_of_model().predict(IMAGES[:0]).shape == (0,)


def test_what_cannot_be_predicted_is_refused_with_what_to_do() -> None:
    graph = graph_of_model()
    with pytest.raises(InputError, match="DataLoader"):
        graph.predict(torch.utils.data.DataLoader(IMAGES))
    with pytest.raises(OptionError, match=r"expected a batch_size of at least 1, .* got 0"):
        graph.predict(IMAGES, 0)


def test_infinite_logits_are_refused_with_the_number_of_the_image() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), Call(torch.exp)).eval()
    nn.init.ones_(net[1].weight)
    graph = effpath.capture(net, IMAGES)
    images = IMAGES.clone()
    images[4] = 100
    assert graph.predict(IMAGES, 2).shape == (7,)
    with pytest.raises(NumericalError, match="got NaN or infinity for image 4"):
        graph.predict(images, 2)
