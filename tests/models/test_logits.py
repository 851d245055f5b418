"""One way from what a model returns to its logits, wherever a model is called; and what needs two of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

import effpath
from effpath.attacks import attack
from effpath.data import Dataset, Part
from effpath.demo.train import accuracy
from effpath.detect.fitting import FitOptions, fit_detector
from effpath.errors import InputError
from effpath.models.predict import correct_rows

IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
SHAPES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "tensor": lambda logits, x: logits,
    "dict": lambda logits, x: {"features": x, "logits": logits},
    "tuple": lambda logits, x: (x, logits),
    "dict of two matrices": lambda logits, x: {"other": logits * 2, "logits": logits},
}


class Returns(nn.Module):
    def __init__(self, form: Callable[[Tensor, Tensor], object], classes: int = 3) -> None:
        super().__init__()
        self.form = form
        self.fc = nn.Linear(16, classes, bias=False)
        self.fc.weight.data = torch.eye(classes, 16)  # each class is seen

    def forward(self, x: Tensor) -> object:
        return self.form(self.fc(x.flatten(1)), x)


def predicted() -> Tensor:
    return Returns(SHAPES["tensor"])(IMAGES).argmax(1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", SHAPES)
@pytest.mark.parametrize("name", ["FGSM", "JSMA"])
def test_a_model_is_attacked_whatever_holds_its_logits(form: str, name: str) -> None:
    plain, other = (
        attack(Returns(SHAPES[own]).eval(), IMAGES[:6], predicted()[:6], name) for own in ("tensor", form)
    )
    assert torch.equal(plain.images, other.images)
    assert torch.equal(plain.predicted, other.predicted)
    assert plain.tried


@pytest.mark.parametrize("form", SHAPES)
def test_a_model_is_judged_whatever_holds_its_logits(form: str) -> None:
    model = Returns(SHAPES[form]).eval()
    assert correct_rows(model, IMAGES, predicted(), 7).tolist() == list(range(40))
    assert accuracy(model, IMAGES, predicted()) == 1
    graph = effpath.capture(model, IMAGES[:1])
    assert effpath.extract(graph, IMAGES).classes.tolist() == predicted().tolist()


def test_a_detector_is_fitted_to_a_model_that_returns_a_dict() -> None:
    part = Part(IMAGES, predicted())
    data = Dataset("made", {"train": part, "test": part}, ("a", "b", "c"))
    options = FitOptions(kind="clean", images=20, fpr=0.5)
    model = Returns(SHAPES["dict"]).eval()
    graph = effpath.capture(model, IMAGES[:1])
    detector = fit_detector(graph, model, data, options, track=lambda _: nullcontext(lambda done, total: None))
    assert detector.threshold is not None


TWO = r"at least 2 classes, got 1.*torch\.cat\(\[-z, z\], 1\)"


def test_a_network_with_one_logit_is_told_what_to_do_where_a_second_class_is_needed() -> None:
    model = Returns(SHAPES["tensor"], classes=1).eval()
    graph = effpath.capture(model, IMAGES[:1])
    assert effpath.extract(graph, IMAGES[:2]).classes.tolist() == [0, 0]
    labels = torch.zeros(len(IMAGES), dtype=torch.int64)
    for call in (
        lambda: effpath.extract(graph, IMAGES[:2], rank=2),
        lambda: effpath.build_class_paths(graph, IMAGES, labels),
        lambda: attack(model, IMAGES, labels, "FGSM"),
        lambda: correct_rows(model, IMAGES, labels, 8),
    ):
        with pytest.raises(InputError, match=TWO):
            call()


def test_the_advised_wrapper_gives_a_network_with_one_logit_two_classes_with_paths() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = Returns(SHAPES["tensor"], classes=1)

        def forward(self, x: Tensor) -> Tensor:
            z = self.network(x)
            return torch.cat([-z, z], 1)

    graph = effpath.capture(Both().eval(), IMAGES[:1])
    ranked = [effpath.extract(graph, IMAGES[:4], rank=rank) for rank in (1, 2)]
    assert (ranked[0].classes + ranked[1].classes).tolist() == [1] * 4
    assert all(len(path.synapses["network.fc"]) for paths in ranked for path in paths)
