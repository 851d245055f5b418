"""Each sign: the contract, and its own formula by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

import effpath
import sign_contract as contract
from digits_net import auxiliary, class_paths, data, graph, model, noisy
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect.signs.auxiliary import AuxiliaryNetwork
from effpath.detect.signs.basis import blocks, small
from effpath.detect.signs.bit_depth import BitDepth, reduce_bits
from effpath.detect.signs.cancellation import Cancellation, received_by
from effpath.detect.signs.collect import collect
from effpath.detect.signs.disagreement import ChangedImage, disagreement
from effpath.detect.signs.forward_concentration import ForwardConcentration, share_in_window
from effpath.detect.signs.forward_frequency import ForwardMargin, ForwardTypicality
from effpath.detect.signs.forward_sets import ForwardSets
from effpath.detect.signs.jpeg import JPEG, jpeg
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.log_odds import LogOdds
from effpath.detect.signs.neighbours import Neighbours, channel_shares
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.detect.signs.reader import SignReader
from effpath.detect.signs.resize_and_pad import ResizeAndPad
from effpath.detect.signs.sign import LayerSign, Sign
from effpath.detect.signs.similarity import EarlySimilarity
from effpath.detect.signs.size import Effort, PathSize
from effpath.detect.signs.typicality import Typicality
from effpath.detect.signs.unusual_pixels import SecondOpinion, Surroundings, UnusualPixels
from effpath.errors import InputError, OptionError
from effpath.kernels.options import make_options
from effpath.walk.forward import forward_sets
from effpath.walk.recording import Recorded, record
from sign_contract import LayerSignContract, SignContract, images, look, looked, recording, reference

EARLY = ["conv1", "conv2", "fc1"]


def sets_of(recorded: Recorded) -> dict[str, np.ndarray]:
    """The forward sets of the early layers, which are small enough to be looked at whole."""
    return forward_sets(graph(), {name: recorded.outputs(name) for name in EARLY})


def measured(sign: Sign) -> np.ndarray:
    return sign.columns(look(sign))[:, 0]


class TestLogOdds(SignContract):
    def made(self) -> Sign:
        return LogOdds()

    def test_it_is_how_far_the_top_logit_is_ahead_of_the_others_together(self) -> None:
        logits = graph()(images()).double()
        top = logits.amax(1)
        rest = logits.masked_fill(logits == top[:, None], -torch.inf).logsumexp(1)
        np.testing.assert_allclose(measured(LogOdds()), (top - rest).numpy(), rtol=1e-5)


class TestAuxiliaryNetwork(SignContract):
    def made(self) -> Sign:
        return AuxiliaryNetwork()

    def runs(self) -> int:
        return 1  # of the other network

    def test_it_is_how_far_the_other_network_puts_the_class_ahead_of_all_others_together(self) -> None:
        logits, own = auxiliary()(images()).double(), graph()(images()).argmax(1)
        rest = logits.scatter(1, own[:, None], -torch.inf).logsumexp(1)
        wanted = logits.gather(1, own[:, None])[:, 0] - rest
        np.testing.assert_allclose(measured(AuxiliaryNetwork()), wanted.numpy(), rtol=1e-4, atol=1e-4)
        assert (measured(AuxiliaryNetwork()) < 0).any()


class TestJPEG(SignContract):
    def made(self) -> Sign:
        return JPEG()

    def test_images_of_another_number_of_channels_are_refused(self) -> None:
        with pytest.raises(InputError, match="1 or 3"):
            jpeg(torch.zeros(1, 2, 8, 8))


class TestResizeAndPad(SignContract):
    def made(self) -> Sign:
        return ResizeAndPad()


class TestResizeAndPadInThreeWays(SignContract):
    def made(self) -> Sign:
        return ResizeAndPad(3)


class TestBitDepth(SignContract):
    def made(self) -> Sign:
        return BitDepth()

    def test_pixels_have_so_many_levels(self) -> None:
        assert len(reduce_bits(torch.rand(1, 1, 50, 50), 3).unique()) == 8


class TestEarlySimilarity(LayerSignContract):
    def made(self) -> LayerSign:
        return EarlySimilarity()

    def test_it_is_the_mean_similarity_of_the_first_half_of_the_layers(self) -> None:
        wanted = class_paths().similarity(effpath.extract(graph(), images()))[:, :3].mean(1)
        np.testing.assert_allclose(measured(EarlySimilarity()), wanted)


class TestMargin(LayerSignContract):
    def made(self) -> LayerSign:
        return Margin()

    def test_it_is_the_mean_lead_of_the_predicted_class(self) -> None:
        likelihood = PathLikelihood(class_paths())(effpath.extract(graph(), images()))
        own = graph()(images()).argmax(1).numpy()
        found = measured(Margin())
        for row, label in enumerate(own):
            others = np.delete(likelihood[row], label, axis=1).max(1)
            assert found[row] == pytest.approx((likelihood[row, :, label] - others).mean())


class TestTypicality(LayerSignContract):
    def made(self) -> LayerSign:
        return Typicality()

    def test_it_is_the_mean_log_frequency_in_the_predicted_class(self) -> None:
        likelihood = PathLikelihood(class_paths())(effpath.extract(graph(), images()))
        own = graph()(images()).argmax(1).numpy()
        wanted = likelihood[np.arange(24), :, own].mean(1)
        np.testing.assert_allclose(measured(Typicality()), wanted)
        assert measured(Typicality())[contract.CLEAN].mean() > measured(Typicality())[contract.NOISY].mean()


class TestPathSize(SignContract):
    def made(self) -> Sign:
        return PathSize()

    def test_it_is_the_mean_log_number_of_synapses(self) -> None:
        path = effpath.extract(graph(), images())[5]
        wanted = np.mean([np.log(len(ids)) for ids in path.synapses.values()])
        assert measured(PathSize())[5] == pytest.approx(wanted)


class TestEffort(SignContract):
    def made(self) -> Sign:
        return Effort()

    def test_it_is_the_mean_log_number_of_synapses_a_neuron(self) -> None:
        path = effpath.extract(graph(), images())[5]
        each = [np.log(len(ids) / len(path.neurons[name])) for name, ids in path.synapses.items()]
        assert measured(Effort())[5] == pytest.approx(np.mean(each))


class TestCancellation(SignContract):
    def made(self) -> Sign:
        return Cancellation()

    def runs(self) -> int:
        return 0  # its pass is of single layers, not through the graph

    def test_what_a_neuron_receives_is_the_sum_of_absolute_contributions(self) -> None:
        found = received_by(recording(), "fc2")
        values = graph().run(graph().check_images(images()), ["relu3"])["relu3"]
        weight = model().fc2.weight.detach()
        torch.testing.assert_close(found, (values.abs() @ weight.abs().T))
        found = received_by(recording(), "conv2")
        values = graph().run(graph().check_images(images()), list(recording().plan.kinds["conv2"].sources))
        (x,) = values.values()
        wanted = nn.functional.conv2d(x.abs(), model().conv2.weight.detach().abs(), padding=model().conv2.padding)
        torch.testing.assert_close(found, wanted.flatten(1))

    def test_values_that_cancel_are_small_beside_their_contributions(self) -> None:
        assert (measured(Cancellation()) >= 0).all()  # Σ|c| ≥ |Σc|, but for the bias


class TestForwardSets(LayerSignContract):
    def made(self) -> LayerSign:
        return ForwardSets()

    def test_it_is_the_share_outside_the_union_of_the_class(self) -> None:
        train, labels = data().train_images[400:640], data().train_labels[400:640]
        predicted = graph()(train).argmax(1)
        known = sets_of(record(graph(), train, options=make_options("default")))
        own, mine = sets_of(recording()), graph()(images()).argmax(1).numpy()
        right = (predicted == labels).numpy()
        for row in (0, 13, 20):
            members = right & (labels.numpy() == mine[row])
            shares = [
                (own[name][row] & ~known[name][members].any(0)).sum() / own[name][row].sum() for name in EARLY
            ]
            assert measured(ForwardSets())[row] == pytest.approx(np.mean(shares))

    def test_noise_is_active_where_its_class_is_not(self) -> None:
        found = measured(ForwardSets())
        assert found[contract.NOISY].mean() > found[contract.CLEAN].mean()

    def test_without_a_walk(self) -> None:
        assert ForwardSets().walks == 0

    def test_a_class_that_was_not_met_gives_nothing(self) -> None:
        known = reference()
        first = int(look(ForwardSets()).predicted[0])
        left = known.classes != first
        layers = {name: counted[left] for name, counted in known.counts.items()}
        fewer = replace(known, classes=known.classes[left], images=known.images[left], counts=layers)
        seen = replace(look(ForwardSets()), reference=fewer)
        for sign in (ForwardSets(), ForwardTypicality(), ForwardMargin(), ForwardConcentration()):
            np.testing.assert_array_equal(np.isnan(sign.columns(seen)[:, 0]), seen.predicted == first)


def log_frequencies(name: str) -> np.ndarray:
    """How usual each neuron is in the forward sets of each class, counted anew, [classes, neurons]."""
    train, labels = data().train_images[400:640], data().train_labels[400:640].numpy()
    right = graph()(train).argmax(1).numpy() == labels
    sets = sets_of(record(graph(), train, options=make_options("default")))[name]
    rows = [right & (labels == label) for label in reference().classes]
    return np.log(np.stack([(sets[own].sum(0) + 0.5) / (own.sum() + 1) for own in rows]))


class TestForwardTypicality(LayerSignContract):
    def made(self) -> LayerSign:
        return ForwardTypicality()

    def test_it_is_the_mean_log_frequency_of_the_set_in_its_class(self) -> None:
        own, seen = sets_of(recording()), look(ForwardTypicality())
        logs, at = {name: log_frequencies(name) for name in EARLY}, reference().places(seen.predicted)
        for row in (0, 13, 20):
            wanted = np.mean([logs[name][at[row], own[name][row]].mean() for name in EARLY])
            assert measured(ForwardTypicality())[row] == pytest.approx(wanted, rel=1e-5)

    def test_noise_is_unusual(self) -> None:
        found = measured(ForwardTypicality())
        assert found[contract.NOISY].mean() < found[contract.CLEAN].mean()


class TestForwardMargin(LayerSignContract):
    def made(self) -> LayerSign:
        return ForwardMargin()

    def test_it_is_the_lead_of_its_class_layer_by_layer(self) -> None:
        own, seen = sets_of(recording()), look(ForwardMargin())
        logs, at = {name: log_frequencies(name) for name in EARLY}, reference().places(seen.predicted)
        for row in (0, 13, 20):
            means = [logs[name][:, own[name][row]].mean(1) for name in EARLY]
            wanted = np.mean([mean[at[row]] - np.delete(mean, at[row]).max() for mean in means])
            assert measured(ForwardMargin())[row] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def most_in_a_window(weights: np.ndarray) -> float:
    """The largest share that a window of half of each side holds, looked for window by window."""
    sides = [-(-side // 2) for side in weights.shape]
    places = np.ndindex(*(side - half + 1 for side, half in zip(weights.shape, sides, strict=True)))
    windows = [tuple(slice(at, at + half) for at, half in zip(place, sides, strict=True)) for place in places]
    return max(weights[window].sum() for window in windows) / weights.sum()


class TestForwardConcentration(LayerSignContract):
    def made(self) -> LayerSign:
        return ForwardConcentration()

    def test_it_is_the_largest_share_of_rarity_in_a_window_of_half_the_side(self) -> None:
        own, seen = sets_of(recording()), look(ForwardConcentration())
        at = reference().places(seen.predicted)
        for row in (0, 13, 20):
            shares = []
            for name in ("conv1", "conv2"):  # neurons of fc1 lie in no places
                shape = graph().shape(name)[1:]
                rarity = np.where(own[name][row], -log_frequencies(name)[at[row]], 0).reshape(shape)
                shares.append(most_in_a_window(rarity.sum(0)))
            assert measured(ForwardConcentration())[row] == pytest.approx(np.mean(shares), rel=1e-5)

    def test_a_bright_corner_is_unusual_in_one_place(self) -> None:
        clean = data().test_images[:60]
        marked = clean.clone()
        marked[:, :, :3, :3] = 1
        reader = contract.reader_of(ForwardConcentration())
        before, after = (ForwardConcentration().columns(looked(reader, pixels)) for pixels in (clean, marked))
        assert after.mean() > before.mean() + before.std() / 2

    def test_a_network_without_places_has_nothing_to_measure(self) -> None:
        seen = look(ForwardConcentration())
        flat = replace(seen, sample=replace(seen.sample, positions={}))
        assert ForwardConcentration().by_layer(flat).shape == (24, 0)
        assert np.isnan(ForwardConcentration().columns(flat)).all()

    @pytest.mark.parametrize("sides", [(7,), (4, 4), (5, 2), (1, 6), (3, 4, 5)])
    def test_windows_of_half_of_each_side_rounded_up(self, sides: tuple[int, ...]) -> None:
        weights = np.random.default_rng(0).exponential(size=(6, *sides)) ** 3
        wanted = [most_in_a_window(each) for each in weights]
        np.testing.assert_allclose(share_in_window(torch.from_numpy(weights)).numpy(), wanted)
        assert share_in_window(torch.zeros(1, *sides)).isnan().all()


class TestUnusualPixels(SignContract):
    def made(self) -> Sign:
        return UnusualPixels()

    def test_noise_is_outside_of_the_space(self) -> None:
        found = measured(UnusualPixels())
        assert found[contract.NOISY].min() > np.median(found[contract.CLEAN])


class TestSurroundings(SignContract):
    def made(self) -> Sign:
        return Surroundings()

    def test_noise_is_not_as_the_pixels_around_it_predict(self) -> None:
        found = Surroundings().columns(look(Surroundings()))
        assert (found[contract.NOISY].min(0) > np.median(found[contract.CLEAN], axis=0)).all()


class TestSecondOpinion(SignContract):
    def made(self) -> Sign:
        return SecondOpinion()

    def test_the_distance_is_that_of_a_principal_component_analysis(self) -> None:
        train, labels = data().train_images[400:640], data().train_labels[400:640].numpy()
        right = graph()(train).argmax(1).numpy() == labels
        seen = look(SecondOpinion())
        pixels, columns = images().flatten(1).numpy(), SecondOpinion().columns(seen)
        logs = np.empty((24, len(reference().classes)))
        for place, label in enumerate(reference().classes):
            rows = train[torch.from_numpy(right & (labels == label))].flatten(1).numpy()
            whole = PCA().fit(rows)
            kept = int(np.searchsorted(np.cumsum(whole.explained_variance_ratio_), 0.9)) + 1
            space = PCA(min(kept, len(rows) // 4)).fit(rows)
            apart = pixels - space.inverse_transform(space.transform(pixels))
            logs[:, place] = np.log(np.square(apart).mean(1) + 1e-9)
        at = reference().places(seen.predicted)
        own = logs[np.arange(24), at]
        np.testing.assert_allclose(columns[:, 0], own, rtol=1e-3)
        logs[np.arange(24), at] = np.inf
        np.testing.assert_allclose(columns[:, 1], own - logs.min(1), rtol=1e-2, atol=1e-3)

    def test_a_digit_of_another_class_looks_like_another_class(self) -> None:
        """The network's word is replaced by the next class: the pixels tell."""
        seen = look(SecondOpinion(), contract.CLEAN)
        told = replace(seen)
        told.__dict__["predicted"] = (seen.predicted + 1) % 10
        assert (SecondOpinion().columns(told)[:, 1] > 0).mean() > 0.9
        assert (SecondOpinion().columns(seen)[:, 1] < 0).mean() > 0.9

    def test_large_images_are_cut_or_made_small(self) -> None:
        large = torch.rand(3, 3, 70, 50)
        assert small(large).shape == (3, 3 * 32 * 32)
        assert blocks(large).shape == (3 * 8 * 6, 3 * 64)
        np.testing.assert_array_equal(blocks(large)[7], large[0, :, 8:16, 8:16].flatten().numpy())


class TestEarlyMargin(SignContract):
    def made(self) -> Sign:
        return Margin("early")


class TestEarlyTypicality(SignContract):
    def made(self) -> Sign:
        return Typicality("early")

    def test_it_is_that_of_the_early_layers(self) -> None:
        likelihood = PathLikelihood(class_paths())(effpath.extract(graph(), images()))
        own = graph()(images()).argmax(1).numpy()
        np.testing.assert_allclose(measured(Typicality("early")), likelihood[np.arange(24), :3, own].mean(1))


class TestNeighbours(SignContract):
    def made(self) -> Sign:
        return Neighbours()

    def test_it_is_the_mean_distance_of_the_nearest_of_the_class(self) -> None:
        seen, known = look(Neighbours()), reference()
        shares = channel_shares(seen)
        np.testing.assert_allclose((shares**2).sum(1), 1)
        for row in (0, 15):
            others = known.shares[known.labels == seen.predicted[row]].astype(float)
            nearest = np.sort(others @ shares[row])[::-1][:5]
            assert measured(Neighbours())[row] == pytest.approx(1 - nearest.mean())


def test_two_signs_never_say_the_same() -> None:
    for profile in PROFILES.values():
        assert len(set(profile.says)) == len(profile.says)
    by_words = {}
    for sign in (sign for profile in PROFILES.values() for sign in profile.signs):
        for said in sign.says:
            assert by_words.setdefault(said, (type(sign), sign.passes)) == (type(sign), sign.passes)


def test_disagreement_by_hand() -> None:
    answers = [np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.8, 0.1]])]
    np.testing.assert_allclose(disagreement(np.array([0]), answers), [0.5 - 0.4])
    np.testing.assert_allclose(disagreement(np.array([1]), answers[:1]), [0.7 - 0.2])


def test_a_change_that_changes_nothing_is_agreed_upon() -> None:
    sign = ChangedImage("none", "changes its mind about nothing", (lambda pixels: pixels,))
    assert (measured(sign) < 0).all()


def test_signs_that_compare_say_what_is_missing() -> None:
    compared = ForwardSets(), ForwardMargin(), ForwardConcentration(), Neighbours()
    for sign in (*compared, UnusualPixels(), Surroundings(), SecondOpinion()):
        with pytest.raises(OptionError, match="call its collect"):
            sign.columns(replace(look(sign), reference=None))


class TestCollecting:
    def test_images_that_the_network_gets_wrong_are_passed_over(self) -> None:
        reader = SignReader.of(PROFILES["thorough"], class_paths())
        pixels, labels = data().train_images[:40], data().train_labels[:40]
        wrong = (labels + 1) % 10
        with pytest.raises(InputError, match="gets right, to compare with, got none of 40"):
            collect(graph(), reader, pixels, wrong)
        some = torch.cat([labels[:20], wrong[20:]])
        half = collect(graph(), reader, pixels, some, batch_size=20)
        first = collect(graph(), reader, pixels[:20], labels[:20])
        assert half.classes.tolist() == first.classes.tolist()
        assert all(np.array_equal(half.forward[name], first.forward[name]) for name in EARLY)
        assert np.array_equal(half.labels, first.labels)

    def test_frequencies_are_means_over_the_neurons_of_the_set(self) -> None:
        seen = look_with("standard")
        for column, (name, bits) in enumerate(seen.forward.items()):
            marks = np.unpackbits(bits, axis=1, count=seen.sample.size(name), bitorder="little").astype(float)
            wanted = marks @ reference().logs[name].astype(float) / marks.sum(1, keepdims=True)
            np.testing.assert_allclose(seen.frequencies[:, column], wanted, rtol=1e-12)

    def test_batches_change_nothing(self) -> None:
        reader = SignReader.of(PROFILES["fast"], class_paths())
        pixels = data().train_images[:50]
        one, other = (collect(graph(), reader, pixels, batch_size=size) for size in (50, 7))
        assert one.classes.tolist() == other.classes.tolist()
        for name, bits in one.forward.items():  # batches may round in the last bit
            assert np.bitwise_count(bits ^ other.forward[name]).sum() <= 2
        assert one.shares.size == 0

    def test_an_image_is_left_out_of_what_it_helped_to_collect(self) -> None:
        reader = SignReader.of(PROFILES["thorough"], class_paths())
        pixels = data().train_images[:30]
        recorded = record(graph(), pixels, options=class_paths().header.options)
        whole = collect(graph(), reader, pixels, own=True)
        seen = looked(reader, pixels, whole, left_out=True)
        own, shares = sets_of(recorded), channel_shares(seen)
        outside, usual, together, far = (
            sign.columns(seen)[:, 0]
            for sign in (ForwardSets(), ForwardTypicality(), ForwardConcentration(), Neighbours())
        )
        for row, label in enumerate(seen.predicted):
            others = np.flatnonzero((seen.predicted == label) & (np.arange(30) != row))
            unions = {name: sets[others].any(0) for name, sets in own.items()}
            wanted = [(own[name][row] & ~unions[name]).sum() / own[name][row].sum() for name in EARLY]
            assert outside[row] == pytest.approx(np.mean(wanted))
            logs = {
                name: np.log((sets[others].sum(0) + 0.5) / (len(others) + 1)) * sets[row]
                for name, sets in own.items()
            }
            means = [each.sum() / own[name][row].sum() for name, each in logs.items()]
            assert usual[row] == pytest.approx(np.mean(means), rel=1e-5)
            rarity = {name: -logs[name].reshape(graph().shape(name)[1:]).sum(0) for name in EARLY[:2]}
            assert together[row] == pytest.approx(np.mean([most_in_a_window(each) for each in rarity.values()]))
            if len(others):
                nearest = np.sort(shares[others] @ shares[row])[::-1][:5]
                assert far[row] == pytest.approx(1 - nearest.mean(), abs=1e-6)
            else:
                assert np.isnan(far[row])
        inside = looked(reader, pixels, whole)
        assert (ForwardSets().columns(inside) == 0).all()

    def test_a_walk_of_the_late_layers_gives_their_part_of_the_whole_walk(self) -> None:
        late, whole = look_with("fast"), look_with("thorough", *PROFILES["fast"].signs)
        names = late.walked.header.keys("synapses")
        assert names == ["fc2", "fc3"]
        np.testing.assert_array_equal(late.similarity, whole.similarity[:, 3:])
        np.testing.assert_array_equal(late.likelihood, whole.likelihood[:, 3:])
        np.testing.assert_array_equal(late.margins, whole.margins[:, 3:])


def look_with(profile: str, *more: Sign):
    """Look with the signs of a profile and more, over the layers that its walk covers."""
    kind = PROFILES[profile]
    reader = SignReader.of(Profile(profile, (*kind.signs, *more), kind.late), class_paths())
    return looked(reader, images())


@pytest.mark.parametrize(
    ("name", "passes", "walks"), [("fast", 1, 1), ("standard", 3, 0), ("paired", 2, 0), ("thorough", 13, 1)]
)
def test_a_profile_costs_what_its_signs_say(name: str, passes: int, walks: int) -> None:
    profile = PROFILES[name]
    assert (profile.passes, profile.walks) == (passes, walks)
    assert profile.name == name
    assert profile.compares


def test_noise_is_suspicious_by_most_signs() -> None:
    seen = look_with("thorough")
    noise = noisy(data().test_images[24:60])
    found = SignReader.of(PROFILES["thorough"], class_paths())
    other = looked(found, noise)
    clean = found.suspicions(seen)[contract.CLEAN].mean(0)
    higher = found.suspicions(other).mean(0) > clean
    by_words = dict(zip(PROFILES["thorough"].says, higher.tolist(), strict=True))
    for said in ("unsure", "early layers outside its class path", "active where its class is not"):
        assert by_words[said], said
