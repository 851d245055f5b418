"""What the studies measure of signs is what detectors read, from one forward pass and one walk."""

import numpy as np

from detection.signs import LATE, SAYS, WHOLE, Signs
from digits_net import class_paths, graph
from effpath import Graph
from effpath.detect.signs.cancellation import Cancellation
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.walk import visit as visiting
from sign_contract import images, reference


def test_the_signs_of_every_profile_are_measured_from_one_recording_and_one_walk(monkeypatch) -> None:
    signs = Signs(graph(), class_paths(), reference(), 8)
    passes, walks = [], []
    run, compiled = Graph.run, visiting.CompiledWalk

    def counted(self, pixels, *others, **more):
        passes.append(len(pixels))
        return run(self, pixels, *others, **more)

    def walked(plan, options, values, active, *others, **threads):
        walks.append(len(active))
        return compiled(plan, options, values, active, *others, **threads)

    with monkeypatch.context() as patched:
        patched.setattr(Graph, "run", counted)
        patched.setattr(visiting, "CompiledWalk", walked)
        found = signs.measure(images())
    assert sum(passes) == 24 * (WHOLE.passes - Cancellation.passes)  # whose share runs no graph
    assert LATE.passes == 1
    assert sum(walks) == 24
    assert found.shape == (24, len(SAYS))
    for name, profile in PROFILES.items():
        if profile.asks:
            continue  # PID measures what another network says
        reader = SignReader.of(profile, class_paths())
        wanted = sign_features(graph(), reader, images(), reference=reference(), batch_size=8).signs
        np.testing.assert_array_equal(found[:, [SAYS.index(title) for title in profile.says]], wanted, name)
