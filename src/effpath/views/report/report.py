"""Report a network: one page of what its class paths show and of what its detector says of images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from effpath.class_paths.class_paths import ClassPaths
from effpath.data import Part
from effpath.detect.saved import DetectorMixin
from effpath.errors import OptionError
from effpath.files.plain import json_of
from effpath.files.progress import Progress, Track, track
from effpath.graph.graph import Graph
from effpath.images import Images
from effpath.rules.plan import Level
from effpath.views.report.findings import Calibration, Findings, findings_of
from effpath.views.report.overview import Overview, overview_of

ENDINGS = (".html", ".json")


@dataclass(frozen=True, eq=False)
class Report:
    """A network, reported.

    Attributes:
        overview: what its class paths show.
        calibration: of its detector; None without one.
        findings: what the detector says of images; None without these.
    """

    overview: Overview
    calibration: Calibration | None = None
    findings: Findings | None = None

    @cached_property
    def html(self) -> str:
        """The page: one file that needs nothing but itself; its figures are drawn when it is first asked for."""
        from effpath.views.page.pages import report_page

        return report_page(self)

    @property
    def json(self) -> str:
        """The numbers of the page as JSON; null stands for NaN and infinity."""
        return json_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers of the page, for JSON."""
        return {
            **self.overview.to_dict(),
            "detector": None if self.calibration is None else self.calibration.to_dict(),
            "findings": None if self.findings is None else self.findings.to_dict(),
        }

    def save(self, file: str | Path) -> None:
        """Write the page to an .html file, or the numbers to a .json file, atomically.

        Raises:
            OptionError: a file with another ending.
            StoreError: the file cannot be written; an older one is left as it was.
        """
        target = Path(file)
        if target.suffix not in ENDINGS:
            raise OptionError(f"expected a file that ends in {' or '.join(ENDINGS)}, got {file}")
        from effpath.views.page.pages import write_page

        write_page(self.html if target.suffix == ".html" else self.json + "\n", target)


def report(
    graph: Graph,
    paths: ClassPaths | DetectorMixin,
    images: Images | Part | None = None,
    *,
    name: str = "network",
    classes: Sequence[str] = (),
    level: Level | None = None,
    examples: int = 6,
    batch_size: int | None = None,
    track: Track | None = None,
) -> Report:
    """Report a network: what it is, how its classes differ, and, with a detector, what that was calibrated on.

    Args:
        graph: of the network, from `capture`.
        paths: class paths of at least two classes (Sec. 2.2), or a detector, which brings its own.
        images: [N, C, H, W], for the detector to judge; a part of a data set brings labels, the outputs of the
            network, and names.
        name: of the network.
        classes: names of its outputs; those of the class paths if not given.
        level: of the similarities between classes; the first that the class paths keep if not given.
        examples: at most so many of the flagged images are explained.
        batch_size: images recorded together; None for as many as fit in memory.
        track: opens the progress of a named step; nothing is shown if not given.

    Returns:
        The report: ``html``, ``json``, and ``save(file)`` for either.

    Raises:
        ClassPathError: class paths of fewer than two classes.
        FingerprintError: class paths or a detector of another network.
        InputError, NumericalError: bad images.
        OptionError: images without a detector or with one that has no threshold yet, or a level that is not kept.

    Example::

        found = effpath.report(graph, detector, images, name="LeNet-5")
        found.overview.most_special, found.overview.closest_pair
        found.save("report.html")
    """
    detector = paths if isinstance(paths, DetectorMixin) else None
    class_paths = paths.class_paths if isinstance(paths, DetectorMixin) else paths
    if images is not None and detector is None:
        raise OptionError(
            "expected a detector to judge images, got class paths alone: give a detector, from Detector or "
            "effpath fit, or leave out the images"
        )
    if examples < 0:
        raise OptionError(f"expected examples of at least 0, got {examples}")
    shown = track or _quiet
    with shown(f"{len(class_paths)} class paths compared") as progress:
        overview = overview_of(graph, class_paths, name=name, classes=classes, level=level, progress=progress)
    if detector is None:
        return Report(overview)
    calibration = Calibration.of(detector)
    if images is None:
        return Report(overview, calibration)
    part = images if isinstance(images, Part) else Part(images, torch.full((len(images),), -1))
    how: dict[str, Any] = {"classes": classes, "examples": examples, "batch_size": batch_size}
    return Report(overview, calibration, findings_of(detector, part, track=shown, **how))


def _quiet(step: str) -> AbstractContextManager[Progress]:
    """Show no progress."""
    return track(step, quiet=True)
