"""Images, classes and numbers as callers give them; the memory that images lie in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import effpath
from effpath.errors import InputError, OptionError
from effpath.graph.inputs import plain_memory
from effpath.kernels.options import make_options
from effpath.walk.recording import record
from effpath.walk.visit import paths_of
from nets import Residual, prepare

IMAGES = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def graph() -> effpath.Graph:
    return effpath.capture(prepare(Residual(), 3), IMAGES[:1])


def spread(images: Tensor) -> Tensor:
    wide = torch.zeros(*images.shape[:-1], 2 * images.shape[-1])
    wide[..., ::2] = images
    return wide[..., ::2]


def misaligned(images: Tensor) -> Tensor:
    longer = torch.zeros(images.numel() + 1)
    longer[1:] = images.flatten()
    return longer[1:].view(images.shape)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.clone(memory_format=torch.contiguous_format),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "permuted from NHWC": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "batch last": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "sliced rows": lambda x: torch.cat([x[:1], x, x])[1 : 1 + len(x)],
    "every second row": lambda x: x.repeat_interleave(2, 0)[::2],
    "every second column": spread,
    "at an odd address": misaligned,
}


class ContractOfLayouts:
    """The same numbers in another layout have the same activations, bit by bit, and so the same sets."""

    shape: tuple[int, ...]

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("count", [1, 3])
    def test_memory_is_brought_to_one_layout(self, layout: str, count: int) -> None:
        images = torch.rand(count, *self.shape, generator=torch.Generator().manual_seed(9))
        given = LAYOUTS[layout](images)
        assert torch.equal(given, images)
        plain = plain_memory(given)
        assert torch.equal(plain, images)
        assert plain.stride() == torch.empty(images.shape).stride()
        assert plain.data_ptr() % 64 == 0

    def test_rows_that_are_one_row_expanded_are_brought_to_it_too(self) -> None:
        given = torch.rand(1, *self.shape).expand(5, *self.shape)
        assert plain_memory(given).stride() == torch.empty(given.shape).stride()


class TestPhotographs(ContractOfLayouts):
    shape = (3, 6, 5)


class TestGreyImages(ContractOfLayouts):
    shape = (1, 6, 5)


class TestOnePixel(ContractOfLayouts):
    shape = (4, 1, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_images_changes_no_activation_and_no_set(graph: effpath.Graph, layout: str) -> None:
    options = make_options("default")
    expected = record(graph, IMAGES, options=options)
    got = record(graph, LAYOUTS[layout](IMAGES), options=options)
    assert all(torch.equal(got.values[name], value) for name, value in expected.values.items())
    for found, path in zip(paths_of(got), paths_of(expected), strict=True):
        assert found.synapses == path.synapses


def test_both_backends_record_the_same_activations(graph: effpath.Graph) -> None:
    options = make_options("default")
    compiled = record(graph, IMAGES, options=options, backend="compiled").plainly()
    reference = record(graph, IMAGES, options=options, backend="reference")
    assert all(torch.equal(compiled.values[name], value) for name, value in reference.values.items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_fingerprint_does_not_see_the_layout_of_the_example(graph: effpath.Graph, layout: str) -> None:
    other = effpath.capture(prepare(Residual(), 3), LAYOUTS[layout](IMAGES))
    assert other.fingerprint == graph.fingerprint


def test_neither_fingerprint_nor_sets_see_the_layout_of_the_weights(graph: effpath.Graph) -> None:
    model = prepare(Residual(), 3).to(memory_format=torch.channels_last)
    other = effpath.capture(model, IMAGES)
    assert other.fingerprint == graph.fingerprint
    assert [path.synapses for path in effpath.extract(other, IMAGES)] == [
        path.synapses for path in effpath.extract(graph, IMAGES)
    ]


TAKEN: dict[str, Any] = {
    "a tensor that requires grad": IMAGES.clone().requires_grad_(),
    "an array": IMAGES.numpy(),
    "an array of doubles": IMAGES.double().numpy(),
    "an array that cannot be written": np.broadcast_to(IMAGES.numpy(), IMAGES.shape),
    "an array upside down": IMAGES.flip(2).numpy()[:, :, ::-1],
    "an array of the other byte order": IMAGES.numpy().astype(">f4"),
    "a list of tensors": list(IMAGES),
    "a list of arrays": [image.numpy() for image in IMAGES],
    "a tuple of tensors that require grad": tuple(IMAGES.clone().requires_grad_()),
    "nested lists": IMAGES.tolist(),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_images_are_taken_as(graph: effpath.Graph, kind: str) -> None:
    expected = effpath.extract(graph, IMAGES)
    for backend in ("compiled", "reference"):
        got = effpath.extract(graph, TAKEN[kind], backend=backend)
        assert [path.synapses for path in got] == [path.synapses for path in expected]
    labels = expected.classes
    built = effpath.build_class_paths(graph, TAKEN[kind], labels)
    assert built.images == 3
    assert effpath.Detector(graph, built).graph is graph


SET = TensorDataset(IMAGES, torch.zeros(3))
LABELLED = {
    "a data loader": (DataLoader(SET), r"DataLoader.*torch\.cat"),
    "a data set": (SET, r"data set \(TensorDataset\).*from_torch"),
}
REFUSED = {
    "an iterator": (iter(IMAGES), "iterator|generator"),
    "text": ("images.npy", "str"),
    "nothing": (None, "NoneType"),
    "a dict": ({"images": IMAGES}, "dict"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_rows_of_images_is_refused_with_what_to_do(graph: effpath.Graph, kind: str) -> None:
    given, message = REFUSED[kind]
    built = effpath.build_class_paths(graph, IMAGES, effpath.extract(graph, IMAGES).classes)
    for call in (
        lambda: effpath.extract(graph, given),
        lambda: effpath.build_class_paths(graph, given, [0, 0, 0]),
        lambda: effpath.Detector(graph, built).features(given),
    ):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize("kind", LABELLED)
def test_a_data_set_where_no_labels_are_needed_is_refused_with_what_to_do(graph: effpath.Graph, kind: str) -> None:
    given, message = LABELLED[kind]
    predicted = effpath.extract(graph, IMAGES).classes
    built = effpath.build_class_paths(graph, IMAGES, predicted)
    for call in (lambda: effpath.extract(graph, given), lambda: effpath.Detector(graph, built).features(given)):
        with pytest.raises(InputError, match=message):
            call()
    assert dict(effpath.build_class_paths(graph, given, predicted)) == dict(built)
    with pytest.raises(InputError, match=r"an integer as the label of item 0"):
        effpath.build_class_paths(graph, given)  # its labels are floats


def test_images_of_several_shapes_are_refused_with_both(graph: effpath.Graph) -> None:
    with pytest.raises(InputError, match=r"\(2, 4, 4\) and \(2, 4, 5\)"):
        effpath.extract(graph, [torch.zeros(2, 4, 4), torch.zeros(2, 4, 5)])


@pytest.mark.parametrize("number", [1.5, 1.0, True, "1", None, 0, 5, float("nan")])
def test_a_rank_that_is_no_whole_number_of_the_classes_is_refused(graph: effpath.Graph, number: Any) -> None:
    with pytest.raises(OptionError, match="rank as a whole number in 1 … "):
        effpath.extract(graph, IMAGES, rank=number)


@pytest.mark.parametrize("number", [1.5, True, 0, float("nan")])
def test_a_number_of_layers_that_is_none_is_refused(graph: effpath.Graph, number: Any) -> None:
    with pytest.raises(OptionError, match="layers as a whole number in 1 … "):
        effpath.extract(graph, IMAGES, layers=number)


@pytest.mark.parametrize("number", [True, "0.5", float("nan"), np.float32(1.5), 1j, [0.5]])
def test_a_theta_that_is_no_share_is_refused(graph: effpath.Graph, number: Any) -> None:
    with pytest.raises(OptionError, match="theta"):
        effpath.extract(graph, IMAGES, theta=number)


def test_the_numbers_of_numpy_are_numbers(graph: effpath.Graph) -> None:
    expected = effpath.extract(graph, IMAGES, rank=2, theta=0.25, layers=2)
    for real, whole in ((np.float32, np.int64), (np.float64, np.uint8), (np.float16, np.int32)):
        got = effpath.extract(graph, IMAGES, rank=whole(2), theta=real(0.25), layers=whole(2))
        assert [path.synapses for path in got] == [path.synapses for path in expected]
        assert got.header.options == expected.header.options
        assert type(got.header.options.theta) is float


BAD = {
    "text": (["cat", "dog", "cat"], "list of str"),
    "fractions": ([0.5, 1.0, 2.0], "float"),
    "a tensor of floats": (torch.zeros(3), r"torch\.float32.*long"),
    "truths": (torch.zeros(3, dtype=torch.bool), "bool"),
    "too few": ([0, 1], r"3 images.*\(2,\)"),
    "one for all": (0, r"3 images.*\(\)"),
    "one column": (torch.zeros(3, 1, dtype=torch.int64), r"\(3, 1\)"),
    "no such class": ([0, 1, 99], "99"),
    "below zero": ([0, 1, -1], "-1"),
    "nothing": ([None, 1, 2], "list of NoneType"),
}


@pytest.mark.parametrize("kind", BAD)
def test_labels_and_classes_that_are_no_classes_are_refused(graph: effpath.Graph, kind: str) -> None:
    given, message = BAD[kind]
    with pytest.raises(OptionError, match=message):
        effpath.extract(graph, IMAGES, classes=given)
    with pytest.raises(InputError, match=r"label"):
        effpath.build_class_paths(graph, IMAGES, given)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_labels_are_whole_numbers_of_any_type(graph: effpath.Graph, dtype: type) -> None:
    labels = effpath.extract(graph, IMAGES).classes.astype(dtype)
    assert effpath.build_class_paths(graph, IMAGES, labels).images == 3
    assert effpath.extract(graph, IMAGES, classes=list(labels)).classes.tolist() == labels.tolist()
