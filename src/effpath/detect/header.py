"""What a detector's file says of itself, read without what fits detectors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path as FilePath
from typing import Any

from numpy.typing import NDArray

from effpath.class_paths.store import provenance_of
from effpath.errors import StoreError
from effpath.files.sealed import UNREADABLE, SealedFile

WHAT = "a detector"
FORMAT = "effpath-detector-3"
READABLE = ("effpath-detector-2", FORMAT)  # the second has no checksums


def read_detector_header(file: str | FilePath) -> dict[str, Any]:
    """Return what a detector's file says of itself: kind, threshold, FPR, about, versions, structure.

    Raises:
        StoreError: missing, truncated, damaged, or no detector's file.
    """
    with SealedFile(file, WHAT) as opened:
        return {**detector_about(opened), "structure": provenance_of(opened).get("structure")}


def detector_about(opened: SealedFile) -> dict[str, Any]:
    provenance_of(opened)
    try:
        about = dict(json.loads(opened.about.get("detector", "{}")))
    except UNREADABLE as error:
        raise opened.damaged(str(error)) from error
    if about.get("format") not in READABLE or "kind" not in about:
        raise StoreError(
            f"expected a detector ({' or '.join(READABLE)}), got class paths with {about.get('format', 'none')} "
            f"in {opened.file}; make one with effpath fit or save_detector"
        )
    return about


def known_kind(about: Mapping[str, Any], kinds: Collection[str], opened: SealedFile) -> str:
    """Return the kind of a detector; StoreError where it is none of those that this version reads."""
    kind: str = about["kind"]
    if kind not in kinds:
        raise StoreError(
            f"expected a detector of a kind of {', '.join(kinds)}, got {kind!r} in {opened.file}, written by "
            f"another version ({about.get('versions')}): use that one, or fit the detector again"
        )
    return kind


def array_of(opened: SealedFile, name: str, dimensions: int) -> NDArray[Any]:
    """Return an array of a detector's file; KeyError or ValueError where it is missing or of another form."""
    if name not in opened.names:
        raise KeyError(f"no array {name}")
    array = opened.array(name)
    if array.ndim != dimensions:
        raise ValueError(f"expected {dimensions} dimensions in {name}, got shape {list(array.shape)}")
    return array


def calibration_of(opened: SealedFile) -> NDArray[Any] | None:
    """Return the calibration scores of a detector's file; None where it has none."""
    return array_of(opened, "detector/calibration", 1) if "detector/calibration" in opened.names else None
