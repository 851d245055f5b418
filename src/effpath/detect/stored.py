"""What a detector's file holds: its signs, its calibration, what signs compare with; checked for its form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.class_paths import ClassPaths
from effpath.detect.band import CleanRows, UsualByLayer
from effpath.detect.signs.pixels import Pixels
from effpath.detect.signs.profiles import Profile
from effpath.detect.signs.reference import Reference
from effpath.detect.signs.sample import Sample
from effpath.errors import StoreError
from effpath.files.sealed import SealedFile


def check_signs(kind: str, profile: Profile | None, about: Mapping[str, Any], opened: SealedFile) -> None:
    """Raise StoreError for a detector that was fitted to other signs than its kind, by its profile, has now."""
    if profile is None:
        return
    own, theirs = list(profile.says), about.get("signs")
    if theirs == own or (theirs is None and about.get("numbers", {}).get("n_features_in_") == len(own)):
        return
    strange = [each for each in theirs or () if each not in own]
    raise StoreError(
        f"expected a detector of kind {kind!r} with the signs that this kind has now, got one with "
        f"{', '.join(map(repr, strange)) or 'others'} in {opened.file}, written by another version "
        f"({about.get('versions')}): use that one, or fit the detector again"
    )


def stored_calibration(opened: SealedFile) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    """Return the scores of the calibration images and their classes; None for what the file has not."""
    at = "detector/calibration"
    scores, classes = (
        stored_array(opened, name, 1) if name in opened.names else None for name in (at, f"{at}_classes")
    )
    if scores is not None and classes is not None and len(scores) != len(classes):
        raise ValueError(f"{len(scores)} calibration scores in one place, {len(classes)} in another")
    return scores, classes


def stored_clean_rows(opened: SealedFile) -> CleanRows | None:
    """Return the similarities of the calibration images; None where the file has none."""
    if "detector/clean_values" not in opened.names:
        return None
    found = CleanRows(
        stored_array(opened, "detector/clean_values", 2), stored_array(opened, "detector/clean_classes", 1)
    )
    if len(found.values) != len(found.classes):
        raise ValueError(f"{len(found.values)} clean images in one place, {len(found.classes)} in another")
    return found


def stored_usual_by_layer(
    opened: SealedFile, profile: Profile | None, class_paths: ClassPaths
) -> UsualByLayer | None:
    """Return what the calibration images show in each layer; None where the file has nothing of it."""
    if "detector/usual_by_layer" not in opened.names:
        return None
    places = () if profile is None else profile.layer_signs(class_paths.header)
    found = UsualByLayer(places, stored_array(opened, "detector/usual_by_layer", 1))
    if len(found.medians) != len(places):
        raise ValueError(f"expected {len(places)} usual values in layers, got {len(found.medians)}")
    return found


def stored_reference(opened: SealedFile, about: Mapping[str, Any], class_paths: ClassPaths) -> Reference | None:
    """Return what was collected from clean images; None where the file has nothing of it."""
    if "reference" not in about:
        return None
    at = "detector/reference"
    classes, images, labels = (stored_array(opened, f"{at}/{name}", 1) for name in ("classes", "images", "labels"))
    shares = stored_array(opened, f"{at}/shares", 2)
    counts = {name: stored_array(opened, f"{at}/counts/{name}", 2) for name in about["reference"]["layers"]}
    sample = Sample.of(class_paths.header)
    if counts and counts.keys() != sample.ids.keys():
        raise ValueError(f"expected counts of {', '.join(sample.ids)}, got {', '.join(counts)}")
    for name, counted in counts.items():
        wanted = len(classes), sample.size(name)
        if counted.dtype != np.uint16 or counted.shape != wanted:
            raise ValueError(
                f"expected uint16 {list(wanted)} in counts/{name}, got {counted.dtype} {list(counted.shape)}"
            )
    if len(shares) != len(labels):
        raise ValueError(f"{len(shares)} paths in one place, {len(labels)} in another")
    if len(images) != len(classes):
        raise ValueError(f"{len(images)} classes in one place, {len(classes)} in another")
    own = bool(about["reference"]["own"])
    pixels = {
        name.removeprefix(f"{at}/pixels/"): opened.array(name)
        for name in opened.names
        if name.startswith(f"{at}/pixels/")
    }
    spaces = Pixels.read(pixels, len(classes)) if pixels else None
    return Reference(classes, images, counts, shares, labels, spaces, own)


def stored_array(opened: SealedFile, name: str, dimensions: int) -> NDArray[Any]:
    """Return an array of the file; KeyError or ValueError where it is missing or of another form."""
    if name not in opened.names:
        raise KeyError(f"no array {name}")
    array = opened.array(name)
    if array.ndim != dimensions:
        raise ValueError(f"expected {dimensions} dimensions in {name}, got shape {list(array.shape)}")
    return array
