"""What every sign of an attack keeps: its columns, what it costs, and that an image speaks for itself alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import effpath.detect.signs.evidence as evidence_module
from digits_net import auxiliary, class_paths, data, graph, noisy
from effpath import Graph
from effpath.detect.signs.collect import collect
from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.detect.signs.reader import SignReader
from effpath.detect.signs.reference import Reference
from effpath.detect.signs.sign import LayerSign, Sign, layer_mean
from effpath.walk.recording import Recorded, record

CLEAN, NOISY = slice(0, 12), slice(12, 24)


def images() -> torch.Tensor:
    return torch.cat([data().test_images[:12], noisy(data().test_images[12:24])])


@cache
def recording() -> Recorded:
    return record(graph(), images(), options=class_paths().header.options)


@cache
def reference() -> Reference:
    """Collected from training images, for every sign that compares."""
    reader = SignReader.of(PROFILES["thorough"], class_paths())
    return collect(graph(), reader, data().train_images[400:640], data().train_labels[400:640])


def reader_of(sign: Sign, late: float = 1.0) -> SignReader:
    profile = Profile(sign.name, (sign,), late)
    return SignReader.of(profile, class_paths(), auxiliary() if profile.asks else None)


def look(sign: Sign, rows: slice = slice(None)) -> Evidence:
    """What the sign looks at, of some of the images."""
    return looked(reader_of(sign), images()[rows])


def looked(reader: SignReader, pixels: torch.Tensor, known: Reference | None = None, **how: bool) -> Evidence:
    """What the signs of a reader look at, of images in one batch; compared with `reference` or another."""
    ((_, checked, passes),) = reader.batches(graph(), pixels, batch_size=len(pixels))
    return reader.look(checked, passes, known or reference(), **how)


class SignContract:
    """Tests that each sign inherits; ``made`` gives it."""

    def made(self) -> Sign:
        raise NotImplementedError

    def test_its_columns_are_finite_float64_one_row_an_image(self) -> None:
        sign = self.made()
        found = sign.columns(look(sign))
        assert found.dtype == np.float64
        assert found.ndim == 2
        assert len(found) == 24
        assert np.isfinite(found).all()
        assert len(np.unique(found)) > 2

    def test_each_suspicion_has_words_of_its_own(self) -> None:
        sign = self.made()
        assert sign.suspicions(look(sign)).shape == (24, len(sign.says))
        assert (
            len(set(sign.says)) == len(sign.says) == sign.columns(look(sign)).shape[1] * (1 + (not sign.direction))
        )
        assert all(said and ":" not in said for said in sign.says)
        assert sign.name in repr(sign)

    def test_suspicions_point_the_way_the_sign_says_and_both_ways_where_that_is_not_known(self) -> None:
        sign = self.made()
        columns, suspicions = sign.columns(look(sign)), sign.suspicions(look(sign))
        if sign.direction:
            np.testing.assert_array_equal(suspicions, sign.direction * columns)
        else:
            np.testing.assert_array_equal(suspicions, np.concatenate([-columns, columns], axis=1))

    def test_the_same_images_give_the_same_columns(self) -> None:
        sign = self.made()
        np.testing.assert_array_equal(sign.columns(look(sign)), sign.columns(look(sign)))

    def test_an_image_speaks_for_itself_alone(self) -> None:
        sign = self.made()
        whole = sign.columns(look(sign))
        for rows in (slice(3, 4), slice(8, 20)):
            np.testing.assert_allclose(sign.columns(look(sign, rows)), whole[rows], rtol=1e-4, atol=1e-6)

    def test_it_costs_what_it_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sign, passes, walks = self.made(), [], []
        run, walk = Graph.run, evidence_module.paths_of

        def counted_run(self: Graph, pixels: torch.Tensor, *others: object, **more: object) -> object:
            passes.append(len(pixels))
            return run(self, pixels, *others, **more)

        def counted_walk(recorded: Recorded, **start: object) -> object:
            walks.append(len(recorded))
            return walk(recorded, **start)

        reference()
        monkeypatch.setattr(Graph, "run", counted_run)
        monkeypatch.setattr(evidence_module, "paths_of", counted_walk)
        seen = look(sign)
        sign.suspicions(seen)
        sign.suspicions(seen)  # a walk is made once
        assert walks == [24] * sign.walks
        assert sum(passes) == 24 * (1 + self.runs())

    def runs(self) -> int:
        """Forward passes that go through the graph: all, unless the sign says otherwise."""
        return self.made().passes


class LayerSignContract(SignContract):
    """Tests that each sign inherits that is a mean over layers."""

    def made(self) -> LayerSign:
        raise NotImplementedError

    def test_its_column_is_the_mean_of_what_it_measures_in_the_layers_that_it_names(self) -> None:
        sign = self.made()
        seen = look(sign)
        header = class_paths().header
        names = sign.layers(header, header.keys("synapses"))
        found = sign.by_layer(seen)
        assert found.shape == (24, len(names))
        assert list(names) == [name for name in header.keys("synapses") if name in names]
        np.testing.assert_array_equal(sign.columns(seen), layer_mean(found)[:, None])
        assert sign.direction in (-1, 1)

    def test_it_says_in_words_what_is_measured_and_what_is_usual(self) -> None:
        sign = self.made()
        said = sign.in_words(-0.1 * -sign.direction, -0.3 * -sign.direction, "seven")
        assert "class seven" in said
        assert said != sign.in_words(-0.2 * -sign.direction, -0.3 * -sign.direction, "seven")
        assert said != sign.in_words(-0.1 * -sign.direction, -0.2 * -sign.direction, "seven")
