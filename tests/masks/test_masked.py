"""Masked networks against sums that are written out, and the laws that hold for every operator."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import digits_net
import effpath
import oracle
from cases import CASES, Case, images_for, operator_of, set_quantised
from effpath import IdSet
from effpath.errors import NumericalError, OptionError
from effpath.masks import Masked
from effpath.masks.weights import with_weights_off
from effpath.rules import Layer, plan_for
from nets import NETS, captured, images_of

BY_NAME = {case.name: case for case in CASES}
EXACT = ("weighted", "transposed", "max")  # sums of multiples of 1/16, maxima
SHARES = (0.0, 0.1, 0.6, 0.95, 1.0)  # of the slots that are off: both ways of summing, and nothing left


@cache
def prepared(case: Case) -> tuple[nn.Module, effpath.Graph, Layer, Tensor]:
    """An operator, its graph, its one layer and images."""
    op, graph = operator_of(case)
    (layer,) = plan_for(graph).every
    return op, graph, layer, images_for(case)


def some_slots(layer: Layer, share: float) -> IdSet:
    """A share of a layer's slots, padding among them."""
    generator = torch.Generator().manual_seed(round(100 * share))
    drawn = torch.rand(layer.window.slots, generator=generator) < share
    return IdSet.from_mask(drawn.numpy())


def named(case: Case, layer: Layer, slots: IdSet) -> set[tuple[int, int, int]]:
    """(output, pixel, weight) of synapses, as the oracle numbers them; the weight is −1 where there is none."""
    ids = torch.from_numpy(slots.ids)
    outputs, sources = layer.window.ends(ids)
    outputs, sources, ids = outputs[sources >= 0], sources[sources >= 0], ids[sources >= 0]
    weights = layer.window.weights_of(ids) if layer.parameter else torch.full_like(outputs, oracle.NO_WEIGHT)
    logits = case.logits_of_outputs(layer.window.outputs)[outputs.numpy()]
    return set(
        zip(logits.tolist(), case.pixels_of_sources()[sources.numpy()].tolist(), weights.tolist(), strict=True)
    )


@cache
def rows_of(name: str, index: int) -> list[oracle.Row]:
    """The summands of each output; of a product of two parts of an image they depend on the image."""
    case = BY_NAME[name]
    op, _, _, images = prepared(case)
    if case.kind == "product":
        return oracle.rows_of_product(op, images[index], case.pixels_of_sources())
    if index:
        return rows_of(name, 0)
    if case.kind in ("weighted", "transposed"):
        return oracle.rows_of_weighted(op, case.shape, transposed=case.kind == "transposed")
    matrix = oracle.jacobian(lambda x: op(x[None])[0], case.shape)  # with the weights of a pooling
    return [
        oracle.Row([oracle.Candidate(int(i), oracle.NO_WEIGHT, float(row[i])) for i in np.flatnonzero(row)], None)
        for row in matrix
    ]


@cache
def windows_of(name: str) -> list[list[int]]:
    return oracle.windows_of_max(prepared(BY_NAME[name])[0], BY_NAME[name].shape)


def left(case: Case, image: Tensor, index: int, off: set[tuple[int, int, int]]) -> Iterator[float]:
    """Each output of one image without some synapses, in plain Python."""
    pixels = image.flatten().tolist()
    if case.kind == "max":
        for output, window in enumerate(windows_of(case.name)):
            on = [pixels[i] for i in window if (output, i, oracle.NO_WEIGHT) not in off]
            yield max(on) if on else 0.0
        return
    for output, row in enumerate(rows_of(case.name, index)):
        kept = [one for one in row.candidates if (output, one.pixel, one.weight) not in off]
        yield sum(pixels[one.pixel] * one.coefficient for one in kept) + (row.bias or 0.0)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_layer_sums_what_is_left_of_its_synapses(name: str) -> None:
    case = BY_NAME[name]
    _, graph, layer, images = prepared(case)
    for share in SHARES:
        slots = some_slots(layer, share)
        off = named(case, layer, slots)
        wanted = torch.tensor([list(left(case, image, index, off)) for index, image in enumerate(images)])
        for masked in (
            Masked(graph, {layer.name: slots}),
            Masked(graph, {layer.name: IdSet.from_mask(~slots.mask())}, keep=True),
        ):
            found = masked(images)
            if case.kind in EXACT:
                assert torch.equal(found, wanted), share
            else:
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_off_gives_every_bit_and_a_neuron_without_synapses_its_bias(name: str) -> None:
    case = BY_NAME[name]
    _, graph, layer, images = prepared(case)
    nothing, everything = IdSet(size=layer.window.slots), IdSet(range(layer.window.slots), size=layer.window.slots)
    for masked in (Masked(graph, {layer.name: nothing}), Masked(graph, {layer.name: everything}, keep=True)):
        assert torch.equal(masked(images), graph(images))
    bare = Masked(graph, {layer.name: everything})(images)
    kind = plan_for(graph).kinds[layer.name]
    bias = None if getattr(kind, "bias", None) is None else graph.constants[kind.bias]
    if bias is None:
        assert not bool(bare.any())
    else:
        assert {*bare.flatten().tolist()} <= {*bias.tolist()}
    # one neuron alone: the others keep their values
    one = layer.window.outputs // 2
    k = layer.window.candidates
    off = IdSet(range(one * k, (one + 1) * k), size=layer.window.slots)
    found, logit = Masked(graph, {layer.name: off})(images), case.logits_of_outputs(layer.window.outputs)[one]
    others = torch.arange(layer.window.outputs) != int(logit)
    assert torch.equal(found[:, int(logit)], bare[:, int(logit)])
    torch.testing.assert_close(found[:, others], graph(images)[:, others], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", BY_NAME)
def test_neurons_that_are_off_are_zero(name: str) -> None:
    case = BY_NAME[name]
    _, graph, layer, images = prepared(case)
    on = np.arange(layer.window.outputs) % 3 > 0
    wanted = graph(images)
    wanted[:, case.logits_of_outputs(layer.window.outputs)[~on]] = 0
    assert torch.equal(Masked(graph, {layer.name: IdSet.from_mask(on)}, "neurons", keep=True)(images), wanted)
    assert torch.equal(Masked(graph, {layer.name: IdSet.from_mask(~on)}, "neurons")(images), wanted)


WITH_WEIGHT = [case.name for case in CASES if case.kind in ("weighted", "transposed")]


@pytest.mark.parametrize("name", WITH_WEIGHT)
def test_weights_that_are_off_are_zeros_in_the_model(name: str) -> None:
    case = BY_NAME[name]
    op, graph, layer, images = prepared.__wrapped__(case)  # whose weights change
    assert layer.parameter is not None
    weight = dict(op.named_parameters())[layer.parameter.removeprefix("op.")]
    on = torch.rand(weight.numel(), generator=torch.Generator().manual_seed(0)) < 0.5
    members = {layer.parameter: IdSet.from_mask(on.numpy())}
    masked = Masked(graph, members, "weights", keep=True)
    with torch.no_grad():
        weight *= on.reshape(weight.shape)
        assert torch.equal(masked(images), op(images).flatten(1))
    assert masked.graph.fingerprint != graph.fingerprint
    off = {layer.parameter: IdSet.from_mask(~on.numpy())}
    assert torch.equal(Masked(graph, off, "weights")(images), masked(images))


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_a_network_without_a_layers_synapses_is_the_network_with_its_weights_at_zero(net) -> None:
    _, graph = captured(net)
    images = images_of(net.shape)
    for parameter in dict.fromkeys(layer.parameter for layer in plan_for(graph).layers):
        own = [layer for layer in plan_for(graph).layers if layer.parameter == parameter]
        slots = {layer.name: IdSet(range(layer.window.slots), size=layer.window.slots) for layer in own}
        weights = {parameter: IdSet(range(own[0].window.weights), size=own[0].window.weights)}
        torch.testing.assert_close(Masked(graph, slots)(images), Masked(graph, weights, "weights")(images))


def test_a_residual_add_without_its_branch_is_the_shortcut() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.branch = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
            self.last = nn.Linear(32, 3)

        def shortcut(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu().flatten(1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last((x + self.branch(x)).relu().flatten(1))

    model = set_quantised(Residual(), 2)
    images = torch.randint(-4, 5, (3, 1, 4, 4), generator=torch.Generator().manual_seed(0)).float() / 4
    graph = effpath.capture(model, images)
    (add,) = [layer for layer in plan_for(graph).auxiliary if len(layer.sources) == 2]
    at = [name.startswith("branch") for name in add.sources].index(True)
    slots = torch.arange(add.window.slots)
    off = slots[slots % 2 == at]
    masked = Masked(graph, {add.name: IdSet(off.numpy(), size=add.window.slots)})
    with torch.no_grad():
        torch.testing.assert_close(masked(images), model.shortcut(images), rtol=0, atol=0)


def test_the_synapses_that_reach_the_whole_sum_give_at_least_the_whole_logit() -> None:
    graph, images = digits_net.graph(), digits_net.data().test_images[:40]
    options = effpath.Options(theta=1.0, target="sum")
    paths = effpath.extract(graph, images, preset=options)
    for row in range(0, 40, 8):
        label, path = int(paths.classes[row]), paths[row]
        last = path.header.layers[-1].name
        alone = Masked(graph, {last: path.synapses[last]}, keep=True)(images[row : row + 1])[0, label]
        assert float(alone) >= float(graph(images[row : row + 1])[0, label]) - 1e-4


def test_masks_of_several_layers_act_together_in_any_batch_and_form_of_image() -> None:
    graph, images = digits_net.graph(), digits_net.data().test_images[:12]
    sets = digits_net.class_paths()[3].synapses
    together = Masked(graph, sets, keep=True)
    torch.testing.assert_close(together(images), torch.cat([together(image[None]) for image in images]))
    torch.testing.assert_close(together(images.numpy()), together(images))
    assert torch.equal(together.predict(images, batch_size=5), together(images).argmax(1))
    assert together.predict(images[:0]).shape == (0,)
    one_by_one = graph.run(
        images, change=lambda name, value: Only(graph, name, sets)(value) if name == "conv1" else value
    )["fc3"]
    first = Masked(graph, {"conv1": sets["conv1"]}, keep=True)(images)
    torch.testing.assert_close(first, one_by_one)
    assert not torch.allclose(first, together(images))


class Only:
    """The outputs of conv1 without some synapses, by zeros in an unfolded image."""

    def __init__(self, graph: effpath.Graph, name: str, sets) -> None:
        self.layer, self.on = plan_for(graph).layer(name), torch.from_numpy(sets[name].mask())
        self.weight, self.bias = (graph.constants[f"{name}.{kind}"] for kind in ("weight", "bias"))

    def __call__(self, value: Tensor) -> Tensor:
        images = digits_net.data().test_images[: len(value)]
        patches = nn.functional.unfold(images, 5, padding=2)  # [N, 25, positions]
        channels, positions = value.shape[1], patches.shape[2]
        on = self.on.reshape(channels, positions, 25).permute(0, 2, 1)
        left = (patches[:, None] * self.weight.reshape(1, channels, 25, 1) * on).sum(2) + self.bias[:, None]
        return left.reshape(value.shape)


def test_no_gradient_is_kept_and_the_graph_is_left_as_it_was() -> None:
    graph, images = digits_net.graph(), digits_net.data().test_images[:3]
    before = {name: value.clone() for name, value in graph.constants.items()}
    weights = digits_net.class_paths()[3].weights
    masked = Masked(graph, weights, "weights", keep=True)
    assert not masked(images.clone().requires_grad_()).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in graph.constants.items())


@pytest.mark.parametrize(
    ("sets", "level", "message"),
    [
        ({"conv1": IdSet(size=3)}, "atoms", "expected a level out of synapses, neurons, weights, got 'atoms'"),
        ({"conv9": IdSet(size=3)}, "synapses", "expected the name of a layer, got 'conv9'"),
        ({"conv1": IdSet(size=3)}, "neurons", "expected a set of the 384 neurons of layer 'conv1', got one of 3"),
        (
            {"conv1": IdSet(size=3)},
            "weights",
            "expected the weight of a layer, got 'conv1'; there are conv1.weight",
        ),
        ({"conv1.weight": IdSet(size=3)}, "weights", "expected a set of the 150 weights of 'conv1.weight'"),
    ],
)
def test_what_does_not_belong_to_the_network_is_refused(sets, level, message) -> None:
    with pytest.raises(OptionError, match=message):
        Masked(digits_net.graph(), sets, level)


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(
        OptionError, match="expected a batch_size of at least 1, or None for as many as fit, got 0"
    ):
        Masked(digits_net.graph(), {}).predict(digits_net.data().test_images[:2], batch_size=0)


def test_logits_that_are_no_numbers_are_refused_as_those_of_a_whole_network_are() -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(4, eps=0.0, elementwise_affine=False)  # 0 / 0 where nothing is left
    images = torch.rand(5, 1, 2, 3)
    graph = effpath.capture(nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False), norm).eval(), images)
    (layer,) = plan_for(graph).layers
    neurons, weights = {layer.name: IdSet(range(4), size=4)}, {layer.parameter: IdSet(range(24), size=24)}
    with pytest.raises(NumericalError, match="expected finite logits, got NaN or infinity for image 0") as whole:
        with_weights_off(graph, weights).predict(images)
    for masked in (Masked(graph, neurons, "neurons"), Masked(graph, weights, "weights")):
        assert bool(masked(images).isnan().all())
        with pytest.raises(NumericalError) as refused:
            masked.predict(images)
        assert str(refused.value) == str(whole.value)
