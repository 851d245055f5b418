"""Explain images: why a detector flags them, or does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from effpath.detect.band import Band
from effpath.detect.explain import feature_suspicion
from effpath.detect.features import Features
from effpath.detect.saved import DetectorMixin
from effpath.detect.scoring import CleanScore, CombinedScore, FloatArray, SurpriseScore
from effpath.images import Images
from effpath.models.predict import require_two_classes
from effpath.paths.batch import Paths
from effpath.views.channels import outside_by_channel
from effpath.views.closest import closest_classes
from effpath.views.explanation import ChannelView, Explanation, LayerView, PixelPath
from effpath.views.neighbours import nearest
from effpath.views.pixels import pixel_maps, with_readers
from effpath.walk.recording import record
from effpath.walk.visit import paths_of

KEPT = 20  # channels of a layer


def explain(
    detector: DetectorMixin,
    images: Images,
    *,
    names: Sequence[str] = (),
    classes: Sequence[str] = (),
    clean: Images | None = None,
    clean_names: Sequence[str] = (),
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Explanation]:
    """Explain images: the verdict on each, and where its path leaves the path of its class.

    Args:
        detector: fitted and calibrated, or from a file.
        images: [N, C, H, W], as the network takes them.
        names: of the images.
        classes: names of the classes; the class paths' own if not given.
        clean: clean images, such as those that the class paths were built from, to find the nearest among.
        clean_names: of the clean images.
        batch_size: clean images recorded together; None for as many as fit in memory.
        progress: called with clean images compared and in total.

    Returns:
        One explanation per image; `effpath.views.page.pages` makes pages of them.

    Raises:
        OptionError: the detector was not fitted, or has no threshold yet.
        InputError, NumericalError: bad images, or a network with one output.

    Example::

        found = effpath.explain(detector, images)[0]
        found.verdict.flagged, found.below, found.closest.best
    """
    graph, header = detector.graph, detector.class_paths.header
    require_two_classes(graph.classes, "an explanation beside the runner-up")
    features = detector.features(images, paths=True)
    verdicts = detector.detect(features)
    added = _added(detector, features)
    found, paths = [], []
    for row, verdict in enumerate(verdicts):
        pixels = graph.check_images(images[row : row + 1])
        recorded = record(graph, pixels, options=header.options)
        reaching = replace(recorded, header=with_readers(recorded.plan, header))
        whole = paths_of(reaching, classes=[verdict.predicted])
        path = whole.only(header)
        known = verdict.predicted in detector.class_paths
        band = detector.clean_rows.band(verdict.predicted) if known and detector.clean_rows is not None else None
        explanation = Explanation(
            name=names[row] if names else f"image {row}",
            image=pixels[0].float().cpu().numpy(),
            verdict=verdict,
            threshold=verdict.threshold,
            fpr=detector.fpr,
            added_to=_added_to(detector),
            layers=_layers(detector, features, row, path, added, band) if known else (),
            band_images=0 if band is None else band.images,
            band_label=None if band is None else band.label,
            closest=closest_classes(features, row, detector.class_paths, path),
            pixels=(
                PixelPath(verdict.predicted, pixel_maps(recorded, whole)[0]),
                PixelPath(verdict.runner_up, pixel_maps(recorded, classes=[verdict.runner_up])[0]),
            ),
            neighbour=None,
            names=classes or detector.class_paths.names,
            notes=_notes(detector, verdict.predicted, added is not None),
        )
        found.append(explanation)
        paths.append(path)
    if clean is None:
        return found
    how = {"batch_size": batch_size, "progress": progress}
    near = nearest(graph, header, [path[0] for path in paths], clean, clean_names, **how)  # type: ignore[arg-type]
    return [replace(explanation, neighbour=one) for explanation, one in zip(found, near, strict=True)]


def _added(detector: DetectorMixin, features: Features) -> FloatArray | None:
    """Return what each similarity adds to the score, [N, features]; None where the score is no sum of them."""
    scoring = detector.scoring
    if scoring is None or isinstance(scoring.score, CombinedScore):
        return None
    return feature_suspicion(scoring, detector.read(features), features)


def _added_to(detector: DetectorMixin) -> str:
    """Return, in words, what it is that layers add to."""
    score = None if detector.scoring is None else detector.scoring.score
    if isinstance(score, SurpriseScore):
        return "its first sign, outside its class path, in nats"
    return "the score, in log odds" if isinstance(score, CleanScore) else "the score"


def _notes(detector: DetectorMixin, label: int, summed: bool) -> tuple[str, ...]:
    """Return what an explanation lacks, and why."""
    found = []
    if label not in detector.class_paths:
        found.append(f"Class {label} has no class path, so that there is nothing to compare the layers with.")
    elif detector.clean_rows is None:
        found.append(
            "The detector's file holds no similarities of clean images, so that there are no bands; "
            "fit the detector again to have them."
        )
    if not summed:
        over = "is not a sum" if detector.reading.profile is None else "is a sum over signs, not"
        found.append(f"The score of a detector of kind {detector.name} {over} over layers.")
    return tuple(found)


def _layers(
    detector: DetectorMixin,
    features: Features,
    row: int,
    path: Paths,
    added: FloatArray | None,
    band: Band | None,
) -> tuple[LayerView, ...]:
    """Return the layers of a path beside the class path of the predicted class."""
    label = int(features.classes[row, 0])
    columns: dict[str, dict[str, int]] = {}  # by layer, then rank
    for column, name in enumerate(features.names):
        rank, _, key = name.split(":", 2)
        columns.setdefault(key, {})[rank] = column
    found = []
    for at, layer in enumerate(path.header.layers):
        slots = path.synapses[layer.name][0]
        members = detector.class_paths.members(label, "synapses", layer.name)
        used, outside = outside_by_channel(layer, slots, members)
        own, total = columns[layer.name], int(outside.sum())
        first = None if added is None else float(added[row, own["rank1"]])
        chosen = np.argsort(-outside, kind="stable")[: min(KEPT, int((outside > 0).sum()))]
        found.append(
            LayerView(
                layer=layer.name,
                similarity=float(features.values[row, own["rank1"]]),
                low=_at(None if band is None else band.low, at),
                median=_at(None if band is None else band.median, at),
                high=_at(None if band is None else band.high, at),
                added=None if added is None else float(sum(added[row, column] for column in own.values())),
                synapses=len(slots),
                outside=total,
                channels=tuple(
                    ChannelView(
                        layer.name,
                        int(channel),
                        int(used[channel]),
                        int(outside[channel]),
                        None if first is None else first * int(outside[channel]) / total,
                    )
                    for channel in chosen
                ),
            )
        )
    return tuple(found)


def _at(band: FloatArray | None, column: int) -> float:
    return float("nan") if band is None else float(band[column])
