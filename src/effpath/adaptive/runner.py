"""Run an adaptive attack in batches, at one bound or at several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from effpath.adaptive.methods import ADAPTIVE, AdaptiveSpec
from effpath.adaptive.result import ROUNDING, AdaptiveResult, within
from effpath.adaptive.search import Guides, Search, Victim
from effpath.adaptive.slopes import Suspicion
from effpath.attacks.runner import require_attackable
from effpath.attacks.spec import Settings, merged_settings
from effpath.errors import InputError, OptionError
from effpath.files.cache import fingerprint
from effpath.files.progress import Progress
from effpath.models.predict import correct_rows, device_of


def adaptive_attack(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    name: str,
    *,
    epsilon: float,
    start: AdaptiveResult | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> AdaptiveResult:
    """Attack every correctly classified image so that it is misclassified and the detector lets it pass.

    Every candidate on the way is judged by ``detector.score``; of those within the bound that are misclassified
    the least suspicious one is kept, whatever the threshold. Where classes have thresholds of their own, the one
    furthest below the threshold of the class that it ends in is kept.

    Args:
        victim: detector, model, and what some attacks need.
        images: float32 [N, C, H, W] in [0, 1].
        labels: int64 [N].
        name: of `ADAPTIVE`.
        epsilon: the bound, above 0, in the norm of the settings; 1 is none for L∞.
        start: result for the same images within a smaller bound; its images are candidates here too.
        settings: that differ from the defaults.
        seed: of random starts, and of HopSkipJump.
        batch_size: images together; with the seed it is part of the result.
        progress: called with images done and in total.

    Raises:
        OptionError: an unknown attack or setting; a detector without threshold; a surrogate without gradient.
        InputError: an unfit model, images or labels; no image that is classified as labelled; no guides.
        MissingExtraError: ``black_box`` without foolbox.
    """
    spec = _spec(name)
    merged = merged_settings(name, spec.settings, settings)
    detector, model = victim.detector, victim.model
    if detector.threshold is None:
        raise OptionError(
            "the detector has no threshold: call calibrate(clean_images) with images held out from fit"
        )
    if not (0 < epsilon < math.inf) or batch_size < 1:
        raise OptionError(
            f"epsilon must be above 0 and finite, batch_size at least 1; got {epsilon!r}, {batch_size!r}"
        )
    if spec.gradients:
        Suspicion(victim.surrogate or detector)  # says what it cannot follow, before any work
    require_attackable(model, images, labels)
    device = device_of(model)
    if not detector.graph.batched:
        batch_size = 1
    rows = correct_rows(model, images, labels, batch_size)
    if not len(rows):
        raise InputError("the model classifies none of the images as labelled: there is nothing to attack")
    guides = _guides(victim, name, batch_size)
    found: list[Search] = []
    for part in torch.split(rows, batch_size):
        search = Search(victim, images[part].to(device), labels[part].to(device), guides, merged["norm"], epsilon)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(fingerprint(seed, name, len(found))[:15], 16))
            spec.run(search, merged)
        found.append(search)
        if progress is not None:
            progress(sum(len(each.images) for each in found), len(rows))
    scores = _gathered(found, "scores").numpy()
    clean, fooled = _gathered(found, "images"), np.isfinite(scores)
    if not fooled.all():
        scores[~fooled] = detector.score(clean[torch.from_numpy(~fooled)])
    result = AdaptiveResult(
        name=name,
        settings=merged,
        epsilon=epsilon,
        images=_gathered(found, "best"),
        clean=clean,
        source=rows,
        labels=labels[rows].cpu(),
        predicted=_gathered(found, "predicted"),
        misclassified=torch.from_numpy(fooled),
        scores=scores,
        threshold=detector.threshold,
        queries=sum(search.queries for search in found),
        class_thresholds=detector.class_thresholds,
    )
    assert bool((result.distances <= epsilon * (1 + ROUNDING) + 1e-6).all())
    return result if start is None else _best(start, result)


def adaptive_curve(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    name: str,
    *,
    epsilons: Sequence[float],
    settings: Settings | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> list[AdaptiveResult]:
    """Return `adaptive_attack` at each of the bounds, ascending; a smaller one's result is a candidate.

    So no score rises with ε (where classes have thresholds of their own: less the threshold), and no success is
    lost. An attack that knows no bound runs once.
    """
    spec, ascending = _spec(name), sorted(epsilons)
    if not ascending:
        raise OptionError("expected at least one epsilon, got none")
    runs = ascending if spec.bounded else ascending[-1:]
    results: list[AdaptiveResult] = []
    for number, epsilon in enumerate(runs):

        def done(images: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(number * total + images, len(runs) * total)

        results.append(adaptive_attack(
            victim, images, labels, name, epsilon=epsilon, start=results[-1] if results else None,
            settings=settings, seed=seed, batch_size=batch_size, progress=done,
        ))  # fmt: skip
    if spec.bounded:
        return results
    clean_scores = victim.detector.score(results[0].clean)
    return [within(results[0], epsilon, clean_scores) for epsilon in ascending]


def _spec(name: str) -> AdaptiveSpec:
    if name not in ADAPTIVE:
        raise OptionError(f"unknown adaptive attack {name!r}; expected one of: {', '.join(ADAPTIVE)}")
    return ADAPTIVE[name]


def _guides(victim: Victim, name: str, batch_size: int) -> Guides:
    """Return the guides that the network gets right, if the attack needs them."""
    if not ADAPTIVE[name].guided:
        return Guides(torch.zeros(0), torch.zeros(0, dtype=torch.int64), victim.detector)
    if victim.guides is None:
        raise InputError(f"{name} needs guides=(images, labels): clean images of the network's classes")
    (images, labels), model = victim.guides, victim.model
    require_attackable(model, images, labels)
    right = correct_rows(model, images, labels, batch_size)
    if not len(right):
        raise InputError(f"{name} needs guides that the network classifies as labelled; it does none of them")
    return Guides(images[right].to(device_of(model)), labels[right].to(device_of(model)), victim.detector)


def _gathered(found: Sequence[Search], what: str) -> Tensor:
    return torch.cat([getattr(search, what) for search in found]).cpu()


def _best(start: AdaptiveResult, result: AdaptiveResult) -> AdaptiveResult:
    """Take a row of the start where it is misclassified, and the result is not or is less below its threshold."""
    if not torch.equal(start.clean, result.clean) or start.epsilon > result.epsilon:
        raise InputError("start must be a result for the same images, model and norm, within a bound no greater")
    if start.settings["norm"] != result.settings["norm"]:
        raise InputError(f"start is bounded in {start.settings['norm']}, expected {result.settings['norm']}")
    better = start.misclassified.numpy() & (~result.misclassified.numpy() | (start.excess < result.excess))
    rows = torch.from_numpy(better)
    return replace(
        result,
        images=torch.where(rows[:, None, None, None], start.images, result.images),
        predicted=torch.where(rows, start.predicted, result.predicted),
        misclassified=result.misclassified | rows,
        scores=np.where(better, start.scores, result.scores),
        queries=result.queries + start.queries,
    )
