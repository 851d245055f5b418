"""A padding written apart or in the convolution: ids are those of the tensor that was padded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import effpath
from cases import Padded
from effpath.rules import plan_for

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
WRITTEN: dict[str, Callable[[str], nn.Module]] = {
    "in the convolution": lambda mode: nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode),
    "apart": lambda mode: nn.Sequential(
        {"zeros": nn.ZeroPad2d, "reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d,
         "circular": nn.CircularPad2d}[mode](1),
        nn.Conv2d(1, 2, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("mode", MODES)
def test_pairs_give_ids_of_the_image_whatever_the_padding(mode: str, written: str, tmp_path) -> None:
    model = nn.Sequential(WRITTEN[written](mode), nn.Flatten()).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # every product is positive, so that θ = 1 chooses them all
            parameter.fill_(0.0 if parameter.dim() == 1 else 0.5)
    graph = effpath.capture(model, torch.zeros(1, 1, 4, 4))
    (layer,) = plan_for(graph).layers
    image = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    ids = np.pad(np.arange(1, 17).reshape(4, 4), 1, MODES[mode]) - 1  # -1 for none
    for backend in ("reference", "compiled"):
        paths = effpath.extract(
            graph, image.repeat(32, 1, 1, 1), classes=range(32), preset="paper", theta=1.0, backend=backend
        )
        for output, path in enumerate(paths):
            row, column = divmod(output % 16, 4)
            window = [i for i in ids[row : row + 3, column : column + 3].flatten().tolist() if i >= 0]
            outputs, inputs = path.pairs(layer.name)
            assert inputs.tolist() == window  # one synapse per tap: an element may feed an output several times
            assert outputs.tolist() == [output] * len(window)
            assert paths.pixels[output].tolist() == sorted(set(window))
    effpath.export_paths(paths, tmp_path / "paths.npz")
    with np.load(tmp_path / "paths.npz") as stored:
        assert stored[f"synapses/{layer.name}/inputs"].max() == 15
    assert layer.total("synapses") == 2 * (100 if mode == "zeros" else 16 * 9)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.MaxPool2d(2, 1)], ids=["mean", "largest"])
def test_a_reflection_before_a_pooling_is_looked_through(pool: nn.Module) -> None:
    model = nn.Sequential(nn.ReflectionPad2d((1, 0, 0, 1)), pool, nn.Flatten()).eval()
    graph = effpath.capture(model, torch.zeros(1, 2, 3, 3))
    (layer,) = plan_for(graph).auxiliary
    assert layer.sources == (graph.input,)
    image = torch.rand(1, 2, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    outputs = graph.classes
    images = image.repeat(outputs, 1, 1, 1)
    plain, compiled = (
        effpath.extract(
            graph,
            images,
            classes=range(outputs),
            theta=1.0,
            include_auxiliary=True,
            backend=backend,
            preset="paper",
        )
        for backend in ("reference", "compiled")
    )
    padded = F.pad(image, (1, 0, 0, 1), mode="reflect")
    for output, (one, other) in enumerate(zip(plain, compiled, strict=True)):
        assert one == other
        found = image.flatten()[one.pairs(layer.name)[1]]
        value = pool(padded).flatten()[output]
        torch.testing.assert_close(found.mean() if isinstance(pool, nn.AvgPool2d) else found[0], value)


def test_padding_by_zero_before_a_mean_is_no_candidate_of_it() -> None:
    model = nn.Sequential(Padded((1, 1, 1, 1), nn.AvgPool2d(3, 1)), nn.Flatten()).eval()
    (layer,) = plan_for(effpath.capture(model, torch.zeros(1, 1, 3, 3))).auxiliary
    assert layer.total("synapses") == 4 * 4 + 4 * 6 + 9
