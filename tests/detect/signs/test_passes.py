"""The forward passes of signs: of images and changed images, in whatever parts they are run."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import effpath
import effpath.detect.signs.passes as passes_module
from digits_net import class_paths, graph
from effpath.detect.signs.bit_depth import reduce_bits
from effpath.detect.signs.jpeg import jpeg
from effpath.detect.signs.passes import Passes, images_at_a_time, passes_of, passes_with
from effpath.detect.signs.sample import Sample
from effpath.errors import NumericalError, OptionError
from effpath.walk.recording import record
from sign_contract import images

CHANGES = (jpeg, partial(reduce_bits, bits=2))


def sample() -> Sample:
    return Sample.of(class_paths().header)


def together() -> Passes:
    return passes_of(graph(), sample(), graph().check_images(images()), CHANGES)


def recorded() -> Passes:
    pixels = graph().check_images(images())
    return passes_with(
        graph(), record(graph(), pixels, options=class_paths().header.options), sample(), pixels, CHANGES
    )


@pytest.mark.parametrize("made", [together, recorded])
def test_they_give_what_passes_of_each_alone_give(made) -> None:
    found = made()
    assert len(found) == 24
    torch.testing.assert_close(found.logits, graph()(images()))
    assert found.ranked(1).equal(graph()(images()).argmax(1))
    assert [*found.answers] == [*CHANGES]
    for change, answer in found.answers.items():
        wanted = graph()(change(images())).double().softmax(1)
        np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-7)
    values = graph().run(graph().check_images(images()), sample().ids)
    for name, ids in sample().ids.items():
        torch.testing.assert_close(found.outputs[name], values[name].reshape(24, -1)[:, ids])


@pytest.mark.parametrize("made", [together, recorded])
def test_the_parts_that_are_run_together_change_nothing(made, monkeypatch) -> None:
    whole = made()
    monkeypatch.setattr(passes_module, "CACHED", 5 * graph().largest_bytes)
    parts = made()
    torch.testing.assert_close(parts.logits, whole.logits)
    for change, answer in parts.answers.items():
        np.testing.assert_allclose(answer, whole.answers[change], rtol=1e-4, atol=1e-7)
    for name, values in parts.outputs.items():
        torch.testing.assert_close(values, whole.outputs[name])


@pytest.mark.parametrize("made", [together, recorded])
@pytest.mark.parametrize("rows", [slice(3, 9), torch.arange(24) % 5 == 0])
def test_some_of_the_images_are_selected_everywhere(made, rows) -> None:
    whole = made()
    some = whole.select(rows)
    at = np.arange(24)[rows]
    assert len(some) == len(at)
    assert some.logits.equal(whole.logits[at])
    assert all(np.array_equal(some.answers[change], whole.answers[change][at]) for change in CHANGES)
    assert all(some.outputs[name].equal(whole.outputs[name][at]) for name in whole.outputs)
    assert (some.recorded is None) == (whole.recorded is None)
    assert some.recorded is None or len(some.recorded) == len(at)


class Mixing(nn.Module):
    """A network whose images, in a batch, are seen beside each other: they are run one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.first(x.flatten(1))
        return self.last(torch.relu(found + found.roll(1, 0)))


def test_images_that_a_network_would_see_together_are_run_one_by_one() -> None:
    torch.manual_seed(0)
    captured = effpath.capture(Mixing().eval(), torch.zeros(1, 1, 2, 2))
    assert not captured.batched
    pixels = captured.check_images(torch.rand(5, 1, 2, 2))
    found = passes_of(captured, Sample({"first": np.array([0, 2])}), pixels, CHANGES[1:])
    alone = [captured(image[None]) for image in pixels]
    torch.testing.assert_close(found.logits, torch.cat(alone))
    (answer,) = found.answers.values()
    wanted = torch.cat([captured(CHANGES[1](image[None])) for image in pixels]).double().softmax(1)
    np.testing.assert_allclose(answer, wanted, rtol=1e-5)
    values = [captured.run(image[None], ["first"])["first"] for image in pixels]
    torch.testing.assert_close(found.outputs["first"], torch.cat(values)[:, [0, 2]])


def test_a_network_that_overflows_is_told() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    nn.init.constant_(net[1].weight, 4.0)
    captured = effpath.capture(net, torch.zeros(1, 1, 2, 2))
    pixels = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 3e38)])
    with pytest.raises(NumericalError, match=r"finite logits, got NaN or infinity for images \[1\]"):
        passes_of(captured, Sample({}), captured.check_images(pixels), ())


def test_progress_is_told_every_few_parts_and_a_batch_size_is_kept(monkeypatch) -> None:
    monkeypatch.setattr(passes_module, "CACHED", 6 * graph().largest_bytes)
    assert images_at_a_time(graph(), 2) == 4 * 2
    assert images_at_a_time(graph(), 11) == 4
    assert images_at_a_time(graph(), 2, 100) == 100
    monkeypatch.undo()
    assert images_at_a_time(graph(), 2) == 256
    with pytest.raises(OptionError, match="batch_size of at least 1"):
        images_at_a_time(graph(), 2, 0)
