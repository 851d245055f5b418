"""Every operator of the table against the oracle that probes it."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch

import effpath
import oracle
from cases import CASES, PRESETS, THETAS, combinations, images_for, operator_of, options_of
from check_law import agrees_with_extract
from effpath import Options
from effpath.rules import RULES
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import walk
from two_backends import BACKENDS, equal_walks, for_backend, with_options

WEIGHTED = tuple(f"effpath.rules.{family}" for family in ("weighted", "sliding", "product", "resize"))
BY_NAME = {case.name: case for case in CASES}


@cache
def recorded_for(name: str) -> tuple[torch.nn.Module, Recorded, torch.Tensor]:
    case = BY_NAME[name]
    op, graph = operator_of(case)
    images = images_for(case)
    recorded = record(graph, images, options=options_of("paper", 0.5), include_auxiliary=True)
    return op, recorded, images


@cache
def rows_for(name: str, index: int) -> list[oracle.Row] | list[list[int]]:
    """What the oracle knows of each output; of a product of two parts of an image it depends on the image."""
    case, op = BY_NAME[name], recorded_for(name)[0]
    if case.kind == "product":
        return oracle.rows_of_product(op, recorded_for(name)[2][index], case.pixels_of_sources())
    if index:
        return rows_for(name, 0)
    if case.kind == "max":
        return oracle.windows_of_max(op, case.shape)
    if case.kind in ("weighted", "transposed"):
        return oracle.rows_of_weighted(op, case.shape, transposed=case.kind == "transposed")
    return oracle.rows_of_sum(op, case.shape, case.pixels_of_sources(), pooled=case.kind == "pooled")


@cache
def summands_for(name: str) -> list[list[tuple[list[float], float]]]:
    """Contributions and value of each output of each image."""
    op, _, images = recorded_for(name)
    values = op(images).flatten(1).tolist()
    found = []
    for index, (image, outputs) in enumerate(zip(images.flatten(1).numpy(), values, strict=True)):
        c = [oracle.contributions(row, image) for row in rows_for(name, index)]
        pooled = BY_NAME[name].kind == "pooled"
        found.append([(summands, sum(summands) if pooled else v) for summands, v in zip(c, outputs, strict=True)])
    return found


def some_outputs(recorded: Recorded) -> torch.Tensor:
    """All outputs of the first two images, a random two thirds of the others'."""
    active = torch.rand(recorded.logits.shape, generator=torch.Generator().manual_seed(1)) < 2 / 3
    active[:2] = True
    return active


def wanted_synapses(name: str, index: int, outputs: list[int], options: Options) -> set[tuple[int, int, int]]:
    """(output, pixel, weight) of the chosen synapses of some outputs of one image."""
    found = set()
    for output in outputs:
        row = rows_for(name, index)[output]
        if BY_NAME[name].kind == "max":
            image = recorded_for(name)[2][index].flatten().numpy()
            found |= {(output, i, oracle.NO_WEIGHT) for i in oracle.choose_max_plain(row, image, options)}
        else:
            c, value = summands_for(name)[index][output]
            chosen = [row.candidates[k] for k in oracle.select_plain(c, value, row.bias, options)]
            found |= {(output, s.pixel, s.weight) for s in chosen}
    return found


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operator_chooses_the_synapses_that_the_oracle_chooses(name: str) -> None:
    for preset, theta in itertools.product(PRESETS, THETAS):
        chooses_what_the_oracle_chooses(name, options_of(preset, theta))


def chooses_what_the_oracle_chooses(name: str, options: Options) -> None:
    case = BY_NAME[name]
    _, recorded, images = recorded_for(name)
    recorded = with_options(recorded, options)
    (layer,) = recorded.header.layers
    active = some_outputs(recorded)
    pixel_of = case.pixels_of_sources()
    order = torch.from_numpy(case.logits_of_outputs(active.shape[1]))
    expected = [wanted_synapses(name, i, active[i].nonzero()[:, 0].tolist(), options) for i in range(len(images))]
    for backend in BACKENDS:
        walked = walk(for_backend(recorded, backend), active)
        for i, chosen in enumerate(expected):
            at = (options, backend, i)
            slots = torch.from_numpy(walked.synapses[layer.name][i])
            outputs, sources = layer.window.ends(slots)
            weights = layer.window.weights_of(slots) if layer.parameter else torch.full_like(outputs, -1)
            pixels = pixel_of[sources.numpy()].tolist()
            got = list(zip(order[outputs].tolist(), pixels, weights.tolist(), strict=True))
            assert len(got) == len(set(got)) == len(chosen), at
            assert set(got) == chosen, at
            assert walked.pixels[i].tolist() == sorted({pixel for _, pixel, _ in chosen}), at
            assert walked.neurons[layer.name][i].tolist() == active[i][order].nonzero()[:, 0].tolist(), at


@pytest.mark.parametrize("name", BY_NAME)
def test_both_backends_choose_alike_for_any_combination_of_options(name: str) -> None:
    _, recorded, _ = recorded_for(name)
    for options in combinations(list(BY_NAME).index(name)):
        equal_walks(with_options(recorded, options), some_outputs(recorded))


def test_four_cases_in_a_row_have_all_combinations_of_options_and_each_of_them_those_of_any_three() -> None:
    assert len({options for number in range(4) for options in combinations(number)}) == 64
    for number in range(4):
        rows = [vars(options) for options in combinations(number)]
        for three in itertools.combinations(("theta", "target", "bias", "fallback", "ties", "lone"), 3):
            assert len({tuple(row[key] for key in three) for row in rows}) == 8


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operator_counts_all_its_synapses_and_no_padding(name: str) -> None:
    case = BY_NAME[name]
    (layer,) = recorded_for(name)[1].header.layers
    rows = rows_for(name, 0)
    sizes = [len(row) if case.kind == "max" else len(row.candidates) for row in rows]
    assert layer.total("synapses") == sum(sizes)
    assert layer.total("neurons") == len(rows)
    if layer.parameter:
        weight = dict(recorded_for(name)[0].named_parameters())[oracle.weight_name(recorded_for(name)[0])]
        assert layer.total("weights") == weight.numel()
        assert layer.parameter == f"op.{oracle.weight_name(recorded_for(name)[0])}"


@pytest.mark.parametrize("name", BY_NAME)
def test_check_supports_a_case_just_where_extract_takes_it(name: str) -> None:
    graph = recorded_for(name)[1].plan.graph
    for gates in (False, True):
        agrees_with_extract(graph, gates=gates)


@pytest.mark.parametrize("name", ["linear on tokens", "conv2d, grouped", "conv_transpose2d"])
def test_extract_from_a_given_class_gives_the_oracles_sets_of_that_output(name: str) -> None:
    _, recorded, images = recorded_for(name)
    for output in range(recorded.logits.shape[1]):
        paths = effpath.extract(recorded.plan.graph, images, classes=[output] * len(images), preset="paper")
        for i, path in enumerate(paths):
            chosen = wanted_synapses(name, i, [output], options_of("paper", 0.5))
            (layer,) = path.header.layers
            assert set(zip(*(ids.tolist() for ids in path.pairs(layer.name)), strict=True)) == {
                (o, pixel) for o, pixel, _ in chosen
            }
            assert set(path.weights[layer.parameter]) == {weight for _, _, weight in chosen}
            assert set(path.neurons[layer.name]) == {output}
            assert set(paths.pixels[i].tolist()) == {pixel for _, pixel, _ in chosen}


def test_the_table_of_cases_has_every_weighted_operator_and_choice() -> None:
    seen = set()
    for name in BY_NAME:
        graph = recorded_for(name)[1].plan.graph
        seen |= {node.op for node in graph.nodes}
    table = {op for op, rule in RULES.items() if rule.__module__ in WEIGHTED}
    assert table - seen == set()


def test_the_images_of_the_cases_hold_ties_zeros_and_negative_and_unreachable_outputs() -> None:
    ties = fallbacks = negative = 0
    for outputs in summands_for("conv2d"):
        for c, value in outputs:
            ties += len(set(c)) < len(c)
            negative += value < 0
            fallbacks += value > 0 and sum(x for x in c if x > 0) < 0.5 * value
    assert ties > 50
    assert negative > 20
    assert fallbacks > 10
    assert float((recorded_for("conv2d")[2] == 0).double().mean()) > 0.1
