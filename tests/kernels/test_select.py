"""Choosing among the contributions of one neuron: against plain Python, and its laws."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from effpath import PRESETS, Options
from effpath.errors import NumericalError, OptionError
from effpath.kernels import reference
from effpath.kernels.options import make_options
from effpath.kernels.window import Window
from oracle import select_plain

EIGHTHS = st.integers(-16, 16).map(lambda n: n / 8)
THETA = st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7, 0.9, 1.0]) | st.floats(1e-3, 1)
OPTIONS = st.builds(
    Options,
    theta=THETA,
    target=st.sampled_from(["output", "sum"]),
    bias=st.sampled_from(["value", "candidate"]),
    fallback=st.sampled_from(["positive", "argmax"]),
    lone=st.booleans(),
)
PRESET = st.sampled_from(list(PRESETS))
# a neuron: its contributions (None is padding), its bias (None: it has none), and what else its value holds
NEURON = st.tuples(
    st.lists(EIGHTHS | st.none(), min_size=1, max_size=9), EIGHTHS | st.none(), st.just(0.0) | EIGHTHS
)


def choose(neurons: list, options: Options) -> list[list[int]]:
    """Chosen indices of each neuron; all neurons go through one call, padded to one length with rubbish."""
    width = max(len(c) for c, _, _ in neurons)
    rows = [[*c, *[None] * (width - len(c))] for c, _, _ in neurons]
    c = torch.tensor([[float("nan") if x is None else x for x in row] for row in rows])
    inside = torch.tensor([[x is not None for x in row] for row in rows])
    value = torch.tensor([value_of(n) for n in neurons])
    bias = None if neurons[0][1] is None else torch.tensor([n[1] or 0.0 for n in neurons])
    return [row.nonzero()[:, 0].tolist() for row in reference.select(c, inside, value, bias, options)]


def value_of(neuron: tuple) -> float:
    c, bias, rest = neuron
    return sum(x for x in c if x is not None) + (bias or 0.0) + rest


def choose_one(neuron: tuple, options: Options) -> set[int]:
    return set(choose([neuron], options)[0])


def signed(neuron: tuple) -> tuple[dict[int, float], float, float | None]:
    """Contributions by index, value and bias, turned so that the value is not negative."""
    c, bias, _ = neuron
    value = value_of(neuron)
    sign = -1 if value < 0 else 1
    return (
        {k: sign * x for k, x in enumerate(c) if x is not None},
        sign * value,
        None if bias is None else sign * bias,
    )


@given(st.lists(NEURON, min_size=1, max_size=5), OPTIONS)
def test_select_equals_the_plain_loop_for_every_combination_of_options(neurons: list, options: Options) -> None:
    neurons = [(c, None if neurons[0][1] is None else bias or 0.0, rest) for c, bias, rest in neurons]
    wanted = []
    for neuron in neurons:
        at = [k for k, x in enumerate(neuron[0]) if x is not None]
        c = [neuron[0][k] for k in at]
        wanted.append(sorted(at[k] for k in select_plain(c, value_of(neuron), neuron[1], options)))
    assert choose(neurons, options) == wanted


@given(NEURON, PRESET, THETA, THETA)
def test_what_a_smaller_theta_chooses_a_larger_one_chooses_too(
    neuron: tuple, preset: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    options = PRESETS[preset]
    assert choose_one(neuron, replace(options, theta=low)) <= choose_one(neuron, replace(options, theta=high))


@given(NEURON, OPTIONS, THETA, THETA)
def test_choosing_is_nested_in_theta_for_all_options_without_the_lone_rule(
    neuron: tuple, options: Options, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    options = replace(options, lone=False)
    assert choose_one(neuron, replace(options, theta=low)) <= choose_one(neuron, replace(options, theta=high))


def test_the_lone_rule_is_not_nested_with_a_positive_fallback_or_a_bias_among_the_candidates() -> None:
    nothing_positive = ([-1.0, -2.0], 4.0, 0.0)
    options = Options(lone=True)
    assert choose_one(nothing_positive, replace(options, theta=0.5)) == {0}
    assert choose_one(nothing_positive, replace(options, theta=0.6)) == set()
    bias_suffices = ([1.0, 0.5], 9.0, 0.0)
    options = Options(lone=True, bias="candidate")
    assert choose_one(bias_suffices, replace(options, theta=0.5)) == {0}
    assert choose_one(bias_suffices, replace(options, theta=0.6)) == set()


@given(NEURON, st.sampled_from(["paper", "default"]), THETA)
def test_paper_and_default_choose_only_what_pulls_the_value_its_own_way(
    neuron: tuple, preset: str, theta: float
) -> None:
    c, _, _ = signed(neuron)
    assert all(c[k] > 0 for k in choose_one(neuron, replace(PRESETS[preset], theta=theta)))


def test_authors_choose_a_contribution_against_the_value_where_all_are() -> None:
    assert choose_one(([-1.0, -0.5, -2.0], 5.0, 0.0), PRESETS["authors"]) == {1}


@given(NEURON, st.sampled_from(["paper", "default"]), THETA)
@example(([1.0, 1.0, 0.5], 1.0, 0.0), "default", 0.5)
def test_the_chosen_reach_the_target_and_without_the_smallest_of_them_they_do_not(
    neuron: tuple, preset: str, theta: float
) -> None:
    c, value, bias = signed(neuron)
    target = theta * value
    own = bias if preset == "default" and bias is not None and bias > 0 else 0.0
    assume(target > 0)
    assume(any(x > 0 for x in c.values()))
    chosen = sorted((c[k] for k in choose_one(neuron, replace(PRESETS[preset], theta=theta))), reverse=True)
    if sum(x for x in c.values() if x > 0) + own < target - 1e-12 * target:
        assert len(chosen) == sum(x > 0 for x in c.values())  # unreachable: all positive ones
        return
    took_bias = own if not chosen or chosen[-1] < own else 0.0
    if sum(chosen) < target - 1e-12 * target:
        took_bias = own
    assert sum(chosen) + took_bias >= target - 1e-12 * target
    smallest = min([*chosen, *([took_bias] if took_bias else [])])
    assert sum(chosen) + took_bias - smallest < target - 1e-12 * target


@given(NEURON, OPTIONS, st.integers(-20, 20))
def test_a_power_of_two_times_contributions_bias_and_value_changes_nothing(
    neuron: tuple, options: Options, power: int
) -> None:
    c, bias, rest = neuron
    times = 2.0**power
    scaled = (
        [None if x is None else x * times for x in c],
        None if bias is None else bias * times,
        rest * times,
    )
    assert choose_one(scaled, options) == choose_one(neuron, options)


@given(NEURON, OPTIONS)
def test_the_opposite_neuron_chooses_the_same(neuron: tuple, options: Options) -> None:
    c, bias, rest = neuron
    assume(value_of(neuron) != 0)
    opposite = ([None if x is None else -x for x in c], None if bias is None else -bias, -rest)
    assert choose_one(opposite, options) == choose_one(neuron, options)


@pytest.mark.parametrize(
    ("contributions", "bias", "changes", "chosen"),
    [
        ([3.0, 1.0, 2.0], 0.0, {"theta": 0.5}, {0}),
        ([3.0, 1.0, 2.0], 0.0, {"theta": 0.51}, {0, 2}),
        ([1.0, 1.0, 1.0, 1.0], 0.0, {"theta": 0.5}, {0, 1}),
        ([5.0, -4.0, 1.0], 0.0, {"theta": 1.0}, {0}),
        ([4.0, 3.0, -5.0], 0.0, {"theta": 1.0}, {0}),
        ([-1.0, -3.0, 1.0], 0.0, {"theta": 0.5}, {1}),
        ([1.0, 2.0, -1.0], 10.0, {"theta": 0.5}, {0, 1}),
        ([1.0, 2.0, -1.0], 10.0, {"theta": 0.5, "bias": "candidate"}, set()),
        ([1.0, 2.0, -1.0], 2.0, {"theta": 0.9, "bias": "candidate"}, {1}),
        ([1.0, 2.0, -1.0], 2.0, {"theta": 0.5, "bias": "candidate"}, {1}),
        ([-2.0, -1.0], 4.0, {"theta": 0.5}, set()),
        ([-2.0, -1.0], 4.0, {"theta": 0.5, "fallback": "argmax"}, {1}),
        ([2.0, 1.0, -3.0], 0.0, {"theta": 0.5}, {0}),
        ([2.0, 1.0, -3.0], 0.0, {"theta": 0.9}, {0, 1}),
        ([2.0, 1.0, -1.0], 6.0, {"theta": 0.9, "target": "sum"}, {0}),
        ([0.0, 0.0], 0.0, {"theta": 0.5, "fallback": "argmax"}, {0}),
        ([1.0, 1.5], 0.0, {"theta": 0.5, "lone": True}, {1}),
        ([1.0, 1.5, 1.5], 0.0, {"theta": 0.5, "lone": True}, {1, 2}),
    ],
)
def test_a_neuron_that_one_can_check_by_hand(contributions, bias, changes, chosen) -> None:
    assert choose_one((contributions, bias, 0.0), Options(**changes)) == chosen


@pytest.mark.parametrize("count", range(1, 60))
def test_the_lone_rule_holds_at_exactly_one_over_the_number_of_candidates(count: int) -> None:
    neuron = ([1.0] * count, 0.0, 0.0)
    assert choose_one(neuron, Options(lone=True, theta=1 / count)) == {0}
    if count > 1:
        assert len(choose_one(neuron, Options(lone=True, theta=min(1.0, 1.01 / count)))) == 2


def test_a_sum_that_misses_the_target_by_rounding_alone_reaches_it() -> None:
    thirds = [0.1, 0.1, 0.1]  # 0.1 + 0.1 + 0.1 in float64 is not 3 · 0.1
    c = torch.tensor([[*thirds, 0.05]], dtype=torch.float64)
    value = torch.tensor([0.3 * (1 + 1e-13)], dtype=torch.float64)
    chosen = reference.select(c, torch.ones_like(c, dtype=torch.bool), value, None, Options(theta=1.0))
    assert chosen.tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_or_infinity_in_a_candidate_or_a_value_is_an_error(bad: float) -> None:
    c, inside = torch.tensor([[1.0, 2.0]]), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(NumericalError):
        reference.select(torch.tensor([[1.0, bad]]), inside, torch.tensor([3.0]), None, Options())
    with pytest.raises(NumericalError):
        reference.select(c, inside, torch.tensor([bad]), None, Options())


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40, 300])
def test_a_sum_adds_lanes_of_every_sixteenth_candidate_and_then_their_halves(count: int) -> None:
    c = torch.randn(9, count, generator=torch.Generator().manual_seed(count)) * 1e6
    c[:, ::3] *= 1e-6
    wanted = []
    for row in c.double().tolist():
        lanes = [0.0] * 16
        for k, x in enumerate(row):
            lanes[k % 16] += x
        for half in (8, 4, 2, 1):
            lanes = [lanes[i] + lanes[i + half] for i in range(half)]
        wanted += lanes
    assert reference.ordered_sum(c).tolist() == wanted
    if count == 300:
        assert wanted != [sum(row) for row in c.double().tolist()]  # the order matters


@pytest.mark.parametrize("theta", [0, -0.1, 1.0001, float("nan"), "0.5", None])
def test_theta_outside_zero_to_one_is_refused_and_named(theta: object) -> None:
    with pytest.raises(OptionError, match="theta"):
        Options(theta=theta)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["target", "bias", "fallback", "ties"])
def test_an_unknown_option_is_refused_and_named(field: str) -> None:
    with pytest.raises(OptionError, match=f"{field}.*'other'"):
        Options(**{field: "other"})


def test_an_unknown_preset_is_refused_and_the_presets_are_named() -> None:
    with pytest.raises(OptionError, match=r"'papper'.*paper, authors, default"):
        make_options("papper")


def test_a_preset_keeps_its_name_when_theta_changes() -> None:
    options = make_options("authors", theta=0.25, gates=True)
    assert (options.preset, options.theta, options.gates, options.ties) == ("authors", 0.25, True, "all")
    assert Options(**options.to_dict()) == options


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_work_cut_into_chunks_chooses_the_same(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-8, 9, (4, 12), generator=generator) / 4
    weight = torch.randint(-4, 5, (3, 2, 3), generator=generator) / 4
    window = Window(torch.arange(6).unfold(0, 3, 1), inputs=12, channels=3, group_channels=2)
    value = torch.nn.functional.conv1d(x.reshape(4, 2, 6), weight).flatten(1)
    active = torch.rand(4, 12, generator=generator) < 0.7
    whole = reference.weigh(window, x, value, active, Options(), weight)
    monkeypatch.setattr(reference, "CHUNK", chunk)
    parts = reference.weigh(window, x, value, active, Options(), weight)
    largest = reference.choose(window, x, active, Options())
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert len(largest.slot) == int(active.sum())


def test_no_active_output_chooses_nothing() -> None:
    window = Window(torch.arange(3)[:, None], inputs=3)
    active = torch.zeros(2, 3, dtype=torch.bool)
    found = reference.weigh(window, torch.ones(2, 3), torch.ones(2, 3), active, Options())
    assert len(found.image) == len(found.slot) == int(found.inputs.sum()) == 0


def windows() -> list[Window]:
    taps = torch.tensor([[-1, 0, 1], [0, 1, 2], [1, 2, -1], [2, -1, -1]])
    return [
        Window(taps, 3 * c * g, o, c, g, first, None, transposed)
        for c, g, o, first, transposed in product((1, 2), (1, 2), (2, 4), (True, False), (True, False))
    ]


@pytest.mark.parametrize("window", windows())
def test_slots_and_candidate_tables_agree_on_inputs_and_weights(window: Window) -> None:
    outputs = torch.arange(window.outputs)
    slots = torch.arange(window.slots)
    at, inputs = window.ends(slots)
    assert torch.equal(at, outputs.repeat_interleave(window.candidates))
    assert torch.equal(inputs, window.input_ids(outputs).flatten())
    assert torch.equal(window.weights_of(slots), window.weight_ids(outputs).flatten())
    assert window.synapses == int((inputs >= 0).sum())
    assert int(inputs.max()) < window.inputs
    assert sorted(window.weights_of(slots).unique().tolist()) == list(range(window.weights))


def test_a_constant_factor_may_differ_from_output_to_output() -> None:
    taps = torch.tensor([[0, 1], [1, 2]])
    window = Window(taps, 6, 2, 1, 2, coefficients=torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64))
    x = torch.ones(1, 6)
    found = reference.weigh(window, x, x[:, :4], torch.ones(1, 4, dtype=torch.bool), Options(theta=0.5))
    assert window.ends(found.slot)[1].tolist() == [0, 2, 3, 5]
