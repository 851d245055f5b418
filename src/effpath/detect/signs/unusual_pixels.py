"""Unusual pixels: are they outside of the space in which clean images vary, or unlike those around them?"""

from __future__ import annotations

import numpy as np

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign


class UnusualPixels(Sign):
    """The log distance of an image's squares of 8 pixels from the principal space of clean ones.

    It looks at no network. Noise is outside of the space, be it of an attack or harmless.
    """

    name = "unusual pixels"
    says = ("pixels unlike those of clean images",)
    needs = frozenset({"pixels"})

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the log distance, [B, 1]."""
        return seen.known_pixels().outside(seen.pixels)[:, None]


class Surroundings(Sign):
    """How badly an image's values are predicted from the pixels around them: the mean log squared error.

    The first prediction is linear in the 24 around a pixel; the second knows the 8 that touch it, and is not
    linear. Both are fitted to clean images; no network is looked at. Small changes all over an image, which look
    like noise, are not predicted; nor is harmless noise.
    """

    name = "surroundings"
    says = ("pixels unlike those around them", "pixels unlike those that touch them")
    needs = frozenset({"pixels"})

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure both, [B, 2]."""
        return seen.known_pixels().mispredicted(seen.pixels)


class SecondOpinion(Sign):
    """How far an image, made small, is from the principal space of its class's images, and of others' (log).

    The second column is the distance from that of the predicted class less the least of another: above 0 the image
    looks like another class to a classifier by nearest space, which shares nothing with the network. That is a
    good classifier of digits, and a poor one of photographs.
    """

    name = "second opinion"
    says = ("pixels unlike those of its class", "pixels more like those of another class")
    needs = frozenset({"pixels"})

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure both, [B, 2]; NaN where no clean image was predicted as the class, or all were."""
        places = seen.reference_places
        logs = seen.known_pixels().outside_classes(seen.pixels, places, left_out=seen.left_out)
        own = np.where(places >= 0, logs[np.arange(len(places)), places], np.nan)
        known = np.flatnonzero(places >= 0)
        logs[known, places[known]] = np.inf
        least = logs.min(1, initial=np.inf)
        return np.stack([own, np.where(np.isfinite(least), own - least, np.nan)], axis=1)
