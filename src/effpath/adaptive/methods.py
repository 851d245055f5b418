"""The adaptive attacks: each proposes candidates to a `Search`, which judges them by the detector itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from effpath.adaptive.search import Search, activations
from effpath.adaptive.slopes import Gradients, Slopes
from effpath.attacks.spec import Settings, require
from effpath.rules import plan_for


def mimic(search: Search, settings: Settings) -> None:
    """Move the activations of the last layers to those of a clean image of another class (Ptolemy, MICRO 2020).

    For each of ``layers``, so many of the last weighted layers, and each of the ``mimics`` guides of another class
    whose activations there are nearest: descent on the distance, ``"L2"`` (relative to the guide's length) or
    ``"cosine"``, summed over the layers. The guide itself, brought within the bound, is a candidate too.
    """
    graph, guides = search.detector.graph, search.guides
    names = [layer.name for layer in plan_for(graph).layers][-max(settings["layers"]) :]
    cosine = settings["distance"] == "cosine"

    def distance(values: list[Tensor], aim: list[Tensor]) -> Tensor:
        pairs = list(zip(values, aim, strict=True))
        if cosine:
            return torch.stack([1 - torch.cosine_similarity(a, b, dim=-1) for a, b in pairs]).sum(0)
        squares = [(a - b).square().sum(-1) / b.square().sum(-1).clamp(min=1e-12) for a, b in pairs]
        return torch.stack(squares).sum(0)

    with torch.no_grad():
        of_images = activations(graph, search.images, names)
    for count in settings["layers"]:
        kept = names[-count:]
        of_guides = guides.activations(names)[-count:]
        rows = range(len(search.images))
        apart = torch.stack([distance([values[row] for values in of_images[-count:]], of_guides) for row in rows])
        nearest, _ = guides.nearest(apart, search.labels, settings["mimics"])
        for chosen in nearest.T:
            search.judge(guides.images[chosen])
            aim = [values[chosen] for values in of_guides]

            def downhill(pixels: Tensor, step: int, kept: list[str] = kept, aim: list[Tensor] = aim) -> Tensor:
                pixels = pixels.detach().requires_grad_()
                with torch.enable_grad():
                    loss = distance(activations(graph, pixels, kept), aim).sum()
                return search.steepest(-torch.autograd.grad(loss, pixels)[0])

            _descend(search, settings, downhill, search.images)


def surrogate(search: Search, settings: Settings) -> None:
    """Descend on misclassification and the surrogate's suspicion together, for each of ``tradeoffs``.

    Both gradients are brought to length 1, so that a trade-off λ means the same for every detector: the step goes
    along margin − λ · suspicion.
    """

    def together(tradeoff: float, found: Gradients) -> Tensor:
        return search.steepest(search.stride(found.margin) - search.stride(found.suspicion, tradeoff))

    _follow(search, settings, [partial(together, tradeoff) for tradeoff in settings["tradeoffs"]])


def guided_pgd(search: Search, settings: Settings) -> None:
    """Descend as `surrogate` does, from clean images of another class, brought within the bound.

    Two descents start at each of the ``starts`` guides whose pixels are nearest: what lies between two clean
    images is nearly as smooth as they are, and often misclassified already. The first goes along the gradient
    itself, in L∞ too: to a detector that looks at pixels, signs are noise. The second goes along that of how much
    of the start is blended into each pixel, so that what both have in common, such as a black background, remains.
    """
    guides, tradeoff = search.guides, settings["tradeoff"]
    nearest, _ = guides.nearest(guides.apart(search.images), search.labels, settings["starts"])
    starts = [search.project(guides.images[chosen]) for chosen in nearest.T]

    def along(way: Tensor, found: Gradients) -> Tensor:
        towards = search.stride(way * found.margin) - search.stride(way * found.suspicion, tradeoff)
        return search.stride(way * towards)

    ways = [way for start in starts for way in (torch.ones_like(start), (start - search.images).abs())]
    for start in starts:
        search.judge(start)
    _follow(search, settings, [partial(along, way) for way in ways], [start for start in starts for _ in range(2)])


def orthogonal_pgd(search: Search, settings: Settings) -> None:
    """Run orthogonal PGD (Bryniarski 2021): steps to misclassification leave suspicion alone, and the reverse.

    Where the image is not misclassified yet, the step goes along the margin's gradient without its part along the
    suspicion's; else against the suspicion's without its part along the margin's.
    """

    def apart(found: Gradients) -> Tensor:
        towards, against = without(found.margin, found.suspicion), without(-found.suspicion, found.margin)
        return search.stride(torch.where(found.fooled[:, None, None, None], against, towards))

    _follow(search, settings, [apart] * settings["restarts"])


def selective_pgd(search: Search, settings: Settings) -> None:
    """Run selective PGD (Bryniarski 2021): towards misclassification; where that is reached, against suspicion."""

    def one_of(found: Gradients) -> Tensor:
        fooled = found.fooled[:, None, None, None]
        return search.steepest(torch.where(fooled, -found.suspicion, found.margin))

    _follow(search, settings, [one_of] * settings["restarts"])


def black_box(search: Search, settings: Settings) -> None:
    """Run HopSkipJump (Chen 2020) on the decision "misclassified and not flagged", without gradients.

    It starts at the nearest guide for which the decision holds, and lessens the distance from there; an image
    without one is left alone. It knows no bound: what it finds is a success where it ends within it. The detector
    judges about ``gradient_steps`` · √step images at each step, and some 20 more.
    """
    library = require("foolbox", "black_box")
    guides = search.guides
    apart = guides.apart(search.images).masked_fill(~guides.passed, torch.inf)
    nearest, is_guide = guides.nearest(apart, search.labels, 1)
    rows = is_guide[:, 0].nonzero()[:, 0]
    if not len(rows):
        return
    starts = guides.images[nearest[rows, 0]]
    candidates = search.images.clone()
    candidates[rows] = starts
    search.judge(candidates)

    method = library.attacks.HopSkipJumpAttack(
        steps=settings["steps"],
        initial_gradient_eval_steps=settings["gradient_steps"],
        max_gradient_eval_steps=10 * settings["gradient_steps"],
        constraint=search.norm.lower(),
    )
    decision, noticed = _Decision(search, search.labels[rows]).eval(), torch.zeros_like(search.labels[rows])
    network = library.PyTorchModel(decision, bounds=(0, 1), device=search.images.device)
    candidates[rows] = method.run(network, search.images[rows], noticed, starting_points=starts)
    search.judge(candidates)


class _Decision(nn.Module):
    """Outputs [N, 2] for images with these labels: class 1 where one is misclassified and not flagged, else 0."""

    def __init__(self, search: Search, labels: Tensor) -> None:
        super().__init__()
        self.search, self.labels = search, labels

    def forward(self, images: Tensor) -> Tensor:
        fooled, scores, predicted = self.search.look(images, self.labels)
        passed = scores <= torch.from_numpy(self.search.detector.thresholds_of(predicted.cpu().numpy()))
        return torch.nn.functional.one_hot((fooled & passed.to(fooled.device)).long(), 2).float()


def without(direction: Tensor, other: Tensor) -> Tensor:
    """Return directions [N, C, H, W] without their parts along others of that shape."""
    d, o = direction.flatten(1), other.flatten(1)
    along = (d * o).sum(1, keepdim=True) / o.square().sum(1, keepdim=True).clamp(min=1e-30)
    return (d - along * o).reshape(direction.shape)


def _follow(
    search: Search,
    settings: Settings,
    directions: Sequence[Callable[[Gradients], Tensor]],
    starts: Sequence[Tensor] | None = None,
) -> None:
    """Descend along directions made of the gradients of misclassification and of the surrogate's suspicion.

    Each descent begins at its start [N, C, H, W]; without, the first at the images, the others at random points.
    """
    others = {name: settings[name] for name in ("temperature", "confidence", "refresh")}
    slopes = Slopes(search.surrogate, layers=settings["layers"] or None, **others)

    def along(direction: Callable[[Gradients], Tensor], pixels: Tensor, step: int) -> Tensor:
        return direction(slopes.at(pixels, search.labels, step))

    if starts is None:
        starts = [search.images, *(search.at_random() for _ in directions[1:])]
    for direction, start in zip(directions, starts, strict=True):
        _descend(search, settings, partial(along, direction), start)


def _descend(
    search: Search, settings: Settings, direction: Callable[[Tensor, int], Tensor], start: Tensor
) -> None:
    """Take ``steps`` steps along a direction of unit length, and let every ``judge_every``-th image be judged.

    A step is ``rel_stepsize`` · ε long at first, and shorter in proportion to what is left.
    """
    pixels, steps = start, settings["steps"]
    for step in range(steps):
        length = settings["rel_stepsize"] * search.epsilon * (1 - step / steps)
        pixels = search.project(pixels + length * direction(pixels, step))
        if (step + 1) % settings["judge_every"] == 0 or step + 1 == steps:
            search.judge(pixels)


class AdaptiveSpec(NamedTuple):
    """One line of `ADAPTIVE`.

    Attributes:
        settings: defaults; their types are the expected types.
        run: proposes candidates to the search.
        gradients: whether it follows the surrogate's suspicion.
        guided: whether it needs clean images of other classes.
        bounded: whether it aims at the bound, so that each bound takes a run of its own.
    """

    settings: Settings
    run: Callable[[Search, Settings], None]
    gradients: bool = True
    guided: bool = False
    bounded: bool = True


_DESCENT = {"norm": "Linf", "steps": 40, "rel_stepsize": 0.3, "judge_every": 1}
_MIMIC = {**_DESCENT, "layers": (1, 2, 3), "mimics": 5, "distance": "L2"}
_SLOPES = {**_DESCENT, "layers": 0, "temperature": 0.1, "confidence": 0.5, "refresh": 1}
_GUIDED = {**_SLOPES, "rel_stepsize": 0.2, "temperature": 0.03, "starts": 5, "tradeoff": 1.0}
_BLACK_BOX = {"norm": "Linf", "steps": 20, "gradient_steps": 50}

ADAPTIVE = {
    "mimic": AdaptiveSpec(_MIMIC, mimic, gradients=False, guided=True),
    "surrogate": AdaptiveSpec({**_SLOPES, "tradeoffs": (0.1, 0.3, 1.0)}, surrogate),
    "orthogonal_pgd": AdaptiveSpec({**_SLOPES, "restarts": 2}, orthogonal_pgd),
    "selective_pgd": AdaptiveSpec({**_SLOPES, "restarts": 2}, selective_pgd),
    "guided_pgd": AdaptiveSpec(_GUIDED, guided_pgd, guided=True),
    "black_box": AdaptiveSpec(_BLACK_BOX, black_box, gradients=False, guided=True, bounded=False),
}
"""Name → attack."""
