"""Features with the signs of a profile: one forward pass and one walk for all, and passes of changed images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import effpath
from digits_net import auxiliary, class_paths, data, graph
from effpath import Graph
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import path_features
from effpath.detect.features import READINGS
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.detect.signs.typicality import Typicality
from effpath.errors import FingerprintError, InputError, OptionError
from effpath.rules import plan_for
from effpath.walk import visit as visiting
from sign_contract import images, reference

WHOLE = Profile("whole", (*PROFILES["thorough"].signs, Margin(), Typicality()))  # which no detector has


def features(profile: str | Profile, pixels: torch.Tensor | None = None, **how: object):
    made = PROFILES[profile] if isinstance(profile, str) else profile
    reader = SignReader.of(made, class_paths(), auxiliary() if made.asks else None)
    return sign_features(
        graph(), reader, images() if pixels is None else pixels, **{"reference": reference(), **how}
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_features_hold_what_the_profile_says_and_what_its_reading_takes(profile: str) -> None:
    found = features(profile)
    assert found.sign_names == PROFILES[profile].says
    assert found.signs.shape == (24, len(found.sign_names))
    np.testing.assert_array_equal(READINGS[profile].columns(found), found.signs)
    np.testing.assert_array_equal(READINGS[profile].columns(found[np.array([3, 1])]), found.signs[[3, 1]])
    assert READINGS[profile].profile is PROFILES[profile]


def test_the_shared_walk_gives_the_features_that_joint_surprise_reads() -> None:
    found = features(WHOLE)
    wanted = path_features(graph(), class_paths(), images(), ranks=(1,), likelihood=PathLikelihood(class_paths()))
    assert found.names == wanted.names
    for name in ("values", "classes", "logits", "likelihood"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert found.likelihood_classes == wanted.likelihood_classes


def test_a_walk_of_late_layers_leaves_the_early_ones_empty() -> None:
    fast, whole = features("fast"), features(WHOLE)
    assert np.isnan(fast.values[:, :3]).all()
    assert np.isnan(fast.likelihood[:, :3]).all()
    np.testing.assert_array_equal(fast.values[:, 3:], whole.values[:, 3:])
    np.testing.assert_array_equal(fast.likelihood[:, 3:], whole.likelihood[:, 3:])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_similarities_of_every_layer_change_nothing_else(profile: str) -> None:
    alone, whole = features(profile), features(profile, paths=True)
    rounding = 0 if PROFILES[profile].walks else 1e-5  # images that no one walks run together with their changes
    for name in ("signs", "classes", "logits"):
        np.testing.assert_allclose(getattr(alone, name), getattr(whole, name), rounding, rounding)
    np.testing.assert_array_equal(alone.likelihood, whole.likelihood)
    wanted = path_features(graph(), class_paths(), images(), ranks=(1,))
    np.testing.assert_array_equal(whole.values, wanted.values)
    walked = ~np.isnan(alone.values)
    assert walked.mean() == {"fast": 2 / 5, "standard": 0, "paired": 0, "thorough": 1}[profile]
    np.testing.assert_array_equal(alone.values[walked], whole.values[walked])


@pytest.mark.parametrize("paths", [False, True])
@pytest.mark.parametrize(("profile", "runs"), [("fast", 1), ("standard", 3), ("paired", 2), ("thorough", 13)])
def test_the_cost_is_what_the_profile_says(profile: str, runs: int, paths: bool, monkeypatch) -> None:
    passes, asked, walks, visited = [], [], [], []
    run, compiled = Graph.run, visiting.CompiledWalk

    def counted(self, pixels, *others, **more):
        (passes if self is graph() else asked).append(len(pixels))
        return run(self, pixels, *others, **more)

    def walked(plan, options, values, active, nodes, **threads):
        walks.append(len(active))
        visited.append(len(nodes))
        return compiled(plan, options, values, active, nodes, **threads)

    known, _ = reference(), auxiliary()
    monkeypatch.setattr(Graph, "run", counted)
    monkeypatch.setattr(visiting, "CompiledWalk", walked)
    features(profile, reference=known, paths=paths)
    assert sum(passes) == 24 * runs
    assert sum(asked) == 24 * PROFILES[profile].asks
    assert sum(walks) == 24 * max(paths, PROFILES[profile].walks)
    assert PROFILES[profile].passes == runs
    assert (max(visited, default=1000) < len(plan_for(graph()).kinds)) is (profile == "fast" and not paths)


def test_batches_change_no_more_than_a_forward_pass_rounds() -> None:
    whole, parts = features("standard"), features("standard", batch_size=7)
    np.testing.assert_array_equal(whole.classes, parts.classes)
    np.testing.assert_allclose(np.nanmedian(np.abs(whole.signs - parts.signs)), 0, atol=1e-6)


def test_without_what_is_compared_with_and_with_another_network_it_says_so() -> None:
    with pytest.raises(OptionError, match="call its collect"):
        features("fast", reference=None)
    with pytest.raises(InputError, match="got none"):
        features("fast", images()[:0])
    other = effpath.capture(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval(), data().test_images[:1]
    )
    with pytest.raises(FingerprintError):
        sign_features(other, SignReader.of(PROFILES["fast"], class_paths()), images())


def test_features_of_another_profile_name_the_signs_that_are_missing() -> None:
    with pytest.raises(OptionError, match="got some without 'changes its mind after JPEG'"):
        READINGS["standard"].columns(features("fast"))
    plain = path_features(graph(), class_paths(), images()[:3])
    with pytest.raises(OptionError, match="expected features with the signs 'unsure', 'too sure'"):
        READINGS["fast"].columns(plain)


def test_class_paths_without_counts_are_refused_by_signs_that_need_them() -> None:
    digits = data()
    bare = effpath.build_class_paths(
        graph(), digits.train_images[:100], digits.train_labels[:100], options=effpath.BuildOptions(counts=False)
    )
    with pytest.raises(OptionError, match="counts=True"):
        SignReader.of(PROFILES["fast"], bare)


def test_a_class_without_a_path_gives_nothing_where_paths_are_compared() -> None:
    images_, labels = data().train_images[:400], data().train_labels[:400]
    built = effpath.build_class_paths(graph(), images_[labels < 3], labels[labels < 3])
    found = sign_features(graph(), SignReader.of(WHOLE, built), images(), reference=reference())
    unknown = found.classes[:, 0] >= 3
    assert 0 < unknown.sum() < 24
    said = dict(zip(found.sign_names, np.isnan(found.signs).T, strict=True))
    compared = ("early layers outside its class path", "fits another class too well", "unusual path for its class")
    for name, missing in said.items():
        np.testing.assert_array_equal(missing, unknown if name in compared else np.zeros(24, bool))
