"""Studies are tested with few resamples: a thousand take most of the time, and no test depends on their number."""

from detection import judge

judge.RESAMPLES = 60
