"""From images to features with the signs of a profile: the passes and the one walk that these take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect.features import Features, check_network, similarities_of
from effpath.detect.signs.evidence import Evidence, late_part
from effpath.detect.signs.passes import Passes, asked, images_at_a_time, passes_of, passes_with
from effpath.detect.signs.profiles import Profile
from effpath.detect.signs.reference import Reference
from effpath.detect.signs.sample import Sample
from effpath.detect.signs.sign import FloatArray, LayerSign
from effpath.files.progress import Progress
from effpath.graph.graph import Graph
from effpath.images import Images
from effpath.paths.batch import Paths
from effpath.walk.recording import checked_batches, recordings
from effpath.walk.visit import paths_of


@dataclass(frozen=True, eq=False)
class SignReader:
    """A profile and the class paths that its signs look at.

    Attributes:
        profile: the signs.
        class_paths: of the network.
        walked: of the layers that the walk covers.
        path_likelihood: of these, where a sign asks for it.
        sample: the neurons whose outputs signs look at; none where no sign asks for forward sets.
        auxiliary: another network for the same images and classes; None where no sign asks it.
    """

    profile: Profile
    class_paths: ClassPaths
    walked: ClassPaths
    path_likelihood: PathLikelihood | None
    sample: Sample
    auxiliary: Graph | None = None

    @classmethod
    def of(cls, profile: Profile, class_paths: ClassPaths, auxiliary: Graph | None = None) -> SignReader:
        """Return what reads a profile; OptionError where class paths lack the use counts that a sign asks for."""
        walked = late_part(class_paths, profile.late)
        likelihood = PathLikelihood(walked) if profile.wants("likelihood") else None
        sample = Sample.of(class_paths.header) if profile.wants("forward sets") else Sample({})
        return cls(profile, class_paths, walked, likelihood, sample, auxiliary)

    def batches(
        self,
        graph: Graph,
        images: Images,
        *,
        changed: bool = True,
        paths: bool = False,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[slice, Tensor, Passes]]:
        """Run images batch by batch: give where they lie among all, the checked pixels, and what the passes gave.

        Args:
            graph: of the network.
            images: [N, C, H, W], which may be read when indexed.
            changed: whether the changed images of the signs, and another network that one asks, are run too.
            paths: record what walks need, whatever the signs need.
            batch_size: images together, see `recordings`.
            progress: called with images done and in total.
        """
        changes, header = self.profile.changes if changed else (), self.class_paths.header
        found: Iterator[tuple[slice, Tensor, Passes]]
        if self.profile.walks or paths:
            recorded_batches = recordings(
                graph, images, options=header.options, layers=header.keys("synapses"), batch_size=batch_size,
                progress=progress,
            )  # fmt: skip
            found = (
                (rows, pixels, passes_with(graph, recorded, self.sample, pixels, changes))
                for rows, pixels, recorded in recorded_batches
            )
        else:
            size = images_at_a_time(graph, len(changes), batch_size)
            found = (
                (rows, pixels, passes_of(graph, self.sample, pixels, changes))
                for rows, pixels in checked_batches(graph, images, size, progress)
            )
        for rows, pixels, passes in found:
            if changed and self.auxiliary is not None:
                passes = replace(passes, auxiliary=asked(self.auxiliary, pixels))
            yield rows, pixels, passes

    def look(
        self,
        pixels: Tensor,
        passes: Passes,
        reference: Reference | None = None,
        *,
        left_out: bool = False,
        paths: Paths | None = None,
    ) -> Evidence:
        """Return what the signs look at in a batch, see `Evidence`.

        Rank-1 ``paths`` of all layers, where there are some, are not walked again.
        """
        known = self.sample, self.class_paths, self.walked, self.path_likelihood, reference, left_out
        return Evidence(pixels, passes, *known, paths)

    def suspicions(self, seen: Evidence) -> FloatArray:
        """Return what all signs of the profile show, float64 [B, len(profile.says)]."""
        return np.concatenate([sign.suspicions(seen) for sign in self.profile.signs], axis=1)

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Return what signs are means of, by sign and layer as of `Profile.layer_signs`, float64 [B, columns]."""
        found = [seen.by_layer(sign) for sign in self.profile.signs if isinstance(sign, LayerSign)]
        return np.concatenate([np.zeros((len(seen), 0)), *found], axis=1)


def sign_features(
    graph: Graph,
    reader: SignReader,
    images: Images,
    *,
    reference: Reference | None = None,
    left_out: bool = False,
    paths: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Features:
    """Return features with signs, rank-1 similarities and likelihood: NaN in the layers that the walk leaves out.

    Args:
        graph: of the network.
        reader: of the profile and the class paths.
        images: [N, C, H, W], which may be read when indexed.
        reference: what was collected from clean images, for signs that compare.
        left_out: whether these are the images of the reference, so that each is to be left out of it.
        paths: let the walk cover every layer, for the similarities, whatever the signs need: no NaN then.
        batch_size: images together, see `recordings`.
        progress: called with images done and in total.

    Raises:
        FingerprintError: the class paths were built with another network.
        InputError, NumericalError: bad images.
        OptionError: signs that compare, and no reference; a batch of less than one image.
    """
    check_network(graph, reader.class_paths)
    header = reader.class_paths.header
    names = header.keys("synapses")
    at = [names.index(key) for key in reader.walked.header.keys("synapses")]
    walks, whole = bool(reader.profile.walks), len(at) == len(names)
    values, classes, logits, likelihoods, signs, by_layer = [], [], [], [], [], []
    for _, pixels, passes in reader.batches(graph, images, paths=paths, batch_size=batch_size, progress=progress):
        longer = None  # than the walk of the signs
        if paths and walks and not whole:
            assert passes.recorded is not None
            longer = paths_of(passes.recorded)
        seen = reader.look(pixels, passes, reference, left_out=left_out, paths=longer)
        signs.append(reader.suspicions(seen))
        by_layer.append(reader.by_layer(seen))
        if longer is not None:
            values.append(reader.class_paths.similarity(longer, allow_missing=True))
        elif paths and not walks:
            values.append(similarities_of(seen.recorded, reader.class_paths, 1, "synapses", True))
        else:
            values.append(_spread(seen.similarity if walks else None, (len(seen), len(names)), at))
        if reader.path_likelihood is not None:
            shape = len(seen), len(names), len(reader.path_likelihood.classes)
            likelihoods.append(_spread(seen.likelihood, shape, at))
        classes.append(np.stack([passes.ranked(rank).cpu().numpy() for rank in (1, 2)], axis=1))
        logits.append(passes.logits.float().cpu().numpy())
    if not values:
        graph.check_images(images[:])  # says that there are none
    likelihood = reader.path_likelihood
    return Features(
        np.concatenate(values),
        tuple(reader.class_paths.feature_names("synapses", 1)),
        np.concatenate(classes),
        np.concatenate(logits),
        None if likelihood is None else np.concatenate(likelihoods),
        () if likelihood is None else tuple(likelihood.classes),
        np.concatenate(signs),
        reader.profile.says,
        np.concatenate(by_layer),
    )


def _spread(found: FloatArray | None, shape: tuple[int, ...], at: list[int]) -> FloatArray:
    """Return an array of a shape that holds what was found at some layers, and NaN elsewhere."""
    whole = np.full(shape, np.nan)
    if found is not None:
        whole[:, at] = found
    return whole
