"""Errors say what was wanted, what came, where, and what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import effpath
from cases import Call
from effpath.errors import CaptureError, InputError, NumericalError, OptionError, UnknownOperatorError
from effpath.rules import RULES, route
from nets import Residual, prepare

EXAMPLE = torch.zeros(1, 2, 4, 4)


@pytest.fixture(scope="module")
def graph() -> effpath.Graph:
    return effpath.capture(prepare(Residual(), 3), EXAMPLE)


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (3, 1, 4, 4), (3, 2, 4), (3, 32), (2,)])
def test_images_of_another_shape_are_refused_with_both_shapes(
    graph: effpath.Graph, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError) as error:
        effpath.extract(graph, torch.zeros(shape))
    assert "(N, 2, 4, 4)" in str(error.value)
    assert str(shape) in str(error.value)


def test_a_missing_batch_dimension_is_named(graph: effpath.Graph) -> None:
    with pytest.raises(InputError, match=r"images\[None\]"):
        effpath.extract(graph, torch.zeros(2, 4, 4))


def test_no_images_are_refused(graph: effpath.Graph) -> None:
    with pytest.raises(InputError, match="none"):
        effpath.extract(graph, torch.zeros(0, 2, 4, 4))


def test_integer_images_are_refused_and_the_conversion_is_named(graph: effpath.Graph) -> None:
    with pytest.raises(InputError, match=r"uint8.*float\(\) / 255"):
        effpath.extract(graph, torch.zeros(1, 2, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_image_with_nan_or_infinity_is_named_by_its_index(graph: effpath.Graph, bad: float) -> None:
    images = torch.zeros(4, 2, 4, 4)
    images[2, 1, 3, 0] = bad
    with pytest.raises(NumericalError, match=r"index \[2\]"):
        effpath.extract(graph, images)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@pytest.mark.parametrize("name", ["fc.weight", "conv2.bias", "bn1.running_var"])
def test_a_parameter_with_nan_or_infinity_is_named(name: str, bad: float) -> None:
    model = prepare(Residual(), 3)
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] = bad
    with pytest.raises(NumericalError, match=name):
        effpath.capture(model, EXAMPLE)


def test_an_overflow_inside_the_network_names_the_node_where_it_was_met() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1e20)
    graph = effpath.capture(model[:1].append(nn.Identity()), torch.zeros(1, 2))
    effpath.extract(graph, torch.ones(1, 2))  # one layer alone does not overflow
    model[0].bias.data.zero_()
    model[2].bias.data.zero_()
    model[4].bias.data.zero_()
    graph = effpath.capture(model, torch.zeros(1, 2))
    with pytest.raises(NumericalError, match=r"NaN or infinity.*'linear', node '4', module '4'"):
        effpath.extract(graph, torch.ones(1, 2))


def test_a_buffer_may_hold_infinities_as_a_mask_or_an_open_bound() -> None:
    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)
            self.register_buffer("bound", torch.tensor(float("inf")))
            self.register_buffer("mask", torch.tensor([0.0, 0.0, float("-inf")]))

        def forward(self, x):
            return self.fc(torch.minimum(x, self.bound)) * (self.mask.exp() + 1)

    model = Bounded().eval()
    nn.init.ones_(model.fc.weight)
    nn.init.zeros_(model.fc.bias)
    graph = effpath.capture(model, torch.zeros(1, 4))
    assert len(effpath.extract(graph, torch.ones(1, 4))[0].synapses["fc"])
    model.mask[0] = float("nan")
    with pytest.raises(NumericalError, match="mask"):
        effpath.capture(model, torch.zeros(1, 4))


def test_infinity_that_a_max_pooling_meets_is_an_error_that_names_it() -> None:
    model = nn.Sequential(Call(torch.exp), nn.MaxPool1d(2), nn.Flatten()).eval()
    graph = effpath.capture(model, torch.zeros(1, 1, 4))
    with pytest.raises(NumericalError, match="max_pool1d"):
        effpath.extract(graph, torch.full((1, 1, 4), 1e3))


@pytest.mark.parametrize("name", ["bn1", "shortcut.1", "drop"])
def test_a_batch_norm_or_dropout_in_train_mode_is_refused_and_named(name: str) -> None:
    model = prepare(Residual(), 3)
    model.get_submodule(name).train()
    with pytest.raises(CaptureError, match=rf"'{name}'.*model\.eval\(\)"):
        effpath.capture(model, EXAMPLE)


def test_a_batch_norm_without_running_statistics_is_refused_even_in_eval_mode() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()).eval()
    with pytest.raises(CaptureError, match=r"track_running_stats") as error:
        effpath.capture(model, EXAMPLE)
    assert "'1'" in str(error.value)


class Inner(nn.Module):
    def forward(self, x):
        return torch.cumsum(x, dim=1)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), Inner())
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.block(x))


def test_an_operator_without_a_rule_is_named_with_its_module_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = prepare(Outer(), 1)
    graph = effpath.capture(model, torch.zeros(1, 4))
    with pytest.raises(UnknownOperatorError) as error:
        effpath.extract(graph, torch.ones(1, 4))
    for part in ("'cumsum'", "node 'block.1'", "module 'block.1'", "RULES['cumsum']"):
        assert part in str(error.value)
    monkeypatch.setitem(RULES, "cumsum", route.elementwise)
    assert len(effpath.extract(graph, torch.ones(1, 4))) == 1


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: x.max(2)[1].flatten(1) * 1.0, "max"),
        (lambda x: x.topk(2, dim=2)[0].flatten(1), "topk"),
        (lambda x: x.sort(2)[0].flatten(1), "sort"),
        (lambda x: torch.var_mean(x, (2, 3))[1], "var_mean"),
        (lambda x: x.topk(2, dim=2)[1].flatten(1) * 1.0, "topk"),
    ],
)
def test_a_result_out_of_several_is_not_taken_for_a_movement_of_data(function, operator: str) -> None:
    graph = effpath.capture(nn.Sequential(Call(function)).eval(), torch.zeros(1, 2, 3, 3))
    with pytest.raises(UnknownOperatorError, match=f"'{operator}'"):
        effpath.extract(graph, torch.ones(1, 2, 3, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.conv2d(x, x.mean(0, keepdim=True)[:, :, :2, :2]).flatten(1),
        lambda x: F.conv2d(x, torch.ones(2, 2, 2, 2), x.mean((0, 2, 3))).flatten(1),
        lambda x: F.linear(x.flatten(1), x.flatten(1)),
    ],
)
def test_a_weight_or_bias_computed_from_the_image_has_no_rule(function) -> None:
    graph = effpath.capture(Call(function).eval(), torch.zeros(1, 2, 4, 4))
    with pytest.raises(UnknownOperatorError, match="constant weight"):
        effpath.extract(graph, torch.ones(1, 2, 4, 4))


@pytest.mark.parametrize("function", [lambda x: x - x.mean(0, keepdim=True), lambda x: x + x.sum()])
def test_a_mean_over_the_batch_has_no_rule(function) -> None:
    model = nn.Sequential(Call(function), nn.Linear(4, 3)).eval()
    with pytest.raises(UnknownOperatorError, match="batch"):
        effpath.extract(effpath.capture(model, torch.zeros(1, 4)), torch.ones(1, 4))


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x: (x, x), "tuple"),
        (lambda x: {"map": x[:, :, None]}, "dict"),
        (lambda x: x[:, :, None], r"\(2, 4, 1\)"),
        (lambda x: x.mean(), r"\(\)"),
    ],
)
def test_a_model_that_returns_something_else_than_logits_is_refused(function, what: str) -> None:
    with pytest.raises(CaptureError, match=rf"logits \[N, classes\].*{what}.*wrap"):
        effpath.capture(Call(function).eval(), torch.zeros(1, 4))


def test_a_model_that_returns_its_input_is_refused() -> None:
    with pytest.raises(CaptureError, match="nothing to extract"):
        effpath.capture(nn.Identity(), torch.zeros(1, 4))


@pytest.mark.parametrize("example", [torch.zeros(4), torch.zeros(0, 4), [[0.0]], None])
def test_an_example_that_is_no_batch_is_refused(example: object) -> None:
    with pytest.raises(InputError, match="example batch"):
        effpath.capture(nn.Linear(4, 2), example)  # type: ignore[arg-type]


def test_an_example_that_the_model_cannot_take_is_refused_with_its_shape() -> None:
    with pytest.raises(InputError, match=r"\(2, 5\)"):
        effpath.capture(nn.Linear(4, 2), torch.zeros(1, 5))


def test_control_flow_on_values_is_refused_as_the_usual_cause() -> None:
    def forked(x):
        return x if x.sum() > 0 else -x

    with pytest.raises(CaptureError, match="Control flow"):
        effpath.capture(Call(forked).eval(), torch.zeros(1, 4))


@pytest.mark.parametrize("theta", [0, -1, 1.5, float("nan")])
def test_theta_outside_its_range_is_refused(graph: effpath.Graph, theta: float) -> None:
    with pytest.raises(OptionError, match=r"theta must lie in \(0, 1\]"):
        effpath.extract(graph, EXAMPLE, theta=theta)


def test_an_unknown_preset_is_refused(graph: effpath.Graph) -> None:
    with pytest.raises(OptionError, match=r"'papers'.*paper, authors, default"):
        effpath.extract(graph, EXAMPLE, preset="papers")


@pytest.mark.parametrize("layers", [0, 5, -1])
def test_a_number_of_layers_outside_the_network_is_refused(graph: effpath.Graph, layers: int) -> None:
    with pytest.raises(OptionError, match=rf"1 … 4.*{layers}"):
        effpath.extract(graph, EXAMPLE, layers=layers)


def test_an_unknown_layer_is_refused_and_the_layers_are_named(graph: effpath.Graph) -> None:
    with pytest.raises(OptionError, match=r"'conv7'.*conv1, conv2, shortcut\.0, fc"):
        effpath.extract(graph, EXAMPLE, layers=["fc", "conv7"])


def test_an_empty_list_of_layers_is_refused(graph: effpath.Graph) -> None:
    with pytest.raises(OptionError, match="names of some layers, got none"):
        effpath.extract(graph, EXAMPLE, layers=[])


@pytest.mark.parametrize("rank", [0, 5, -1])
def test_a_rank_outside_the_classes_is_refused(graph: effpath.Graph, rank: int) -> None:
    with pytest.raises(OptionError, match=rf"1 … 4.*{rank}"):
        effpath.extract(graph, EXAMPLE, rank=rank)


@pytest.mark.parametrize("classes", [[0], [0, 4], [-1, 0], [0, 1, 2]])
def test_classes_that_do_not_fit_the_batch_or_the_network_are_refused(
    graph: effpath.Graph, classes: list[int]
) -> None:
    with pytest.raises(OptionError, match="2 classes in 0 … 3"):
        effpath.extract(graph, torch.zeros(2, 2, 4, 4), classes=classes)


class Several(nn.Module):
    """Gives what ``pack`` makes of features, logits and auxiliary logits."""

    def __init__(self, pack) -> None:
        super().__init__()
        self.body, self.head, self.aux, self.pack = nn.Conv2d(2, 3, 1), nn.Linear(3, 4), nn.Linear(3, 5), pack

    def forward(self, x):
        features = self.body(x)
        pooled = features.mean((2, 3))
        return self.pack(features, self.head(pooled), self.aux(pooled))


@pytest.mark.parametrize(
    "pack",
    [
        lambda features, logits, aux: {"aux": aux, "logits": logits},
        lambda features, logits, aux: (features, logits),
        lambda features, logits, aux: {"out": (logits, None), "map": features},
        lambda features, logits, aux: [logits],
    ],
    ids=["dict", "tuple", "nested", "list"],
)
def test_the_logits_are_found_in_what_a_model_returns(pack) -> None:
    model = Several(pack).eval()
    graph = effpath.capture(model, EXAMPLE)
    plain = effpath.capture(Several(lambda features, logits, aux: logits).eval(), EXAMPLE)
    assert [node.name for node in graph.nodes] == [node.name for node in plain.nodes]
    images = torch.randn(2, *EXAMPLE.shape[1:])
    torch.testing.assert_close(graph(images), model.head(model.body(images).mean((2, 3))).detach())


@pytest.mark.parametrize("pack", [lambda f, logits, aux: (logits, aux), lambda f, logits, aux: {"features": f}])
def test_a_model_whose_logits_cannot_be_told_is_refused_with_what_it_returns(pack) -> None:
    with pytest.raises(CaptureError, match=r"expected.*logits.*shape \(2, .*wrap it"):
        effpath.capture(Several(pack).eval(), EXAMPLE)


def test_a_model_of_several_inputs_is_refused_with_what_to_do() -> None:
    class Two(nn.Module):
        def forward(self, image, mask):
            return (image * mask).flatten(1)

    with pytest.raises(InputError, match=r"mask.*wrap a model of several inputs"):
        effpath.capture(Two().eval(), EXAMPLE)


def test_a_movement_that_values_of_the_image_decide_is_refused_with_its_place() -> None:
    model = nn.Sequential(Call(lambda x: x.flatten(1)[:, x.flatten(1)[0].argsort()])).eval()
    graph = effpath.capture(model, EXAMPLE[:, :, :1, :1])
    with pytest.raises(UnknownOperatorError, match=r"cannot be followed through operator 'index'.*write a rule"):
        effpath.extract(graph, EXAMPLE[:, :, :1, :1])


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.fc = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.words(x).mean(1))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
def test_a_model_of_tokens_is_refused_with_what_to_capture_instead(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=r"numbers of tokens.*no contributions.*behind its embedding"):
        effpath.capture(Words().eval(), torch.zeros(1, 5, dtype=dtype))


class ChannelsLast(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.permute(0, 3, 1, 2))


def test_images_with_channels_last_are_refused_with_the_permutation_and_a_model_of_them_is_taken() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(InputError, match=r"\(2, 8, 8, 3\).*permute\(0, 3, 1, 2\)"):
        effpath.capture(model, torch.zeros(1, 8, 8, 3))
    last = ChannelsLast(model)
    with pytest.raises(InputError, match=r"\(2, 3, 8, 8\).*permute\(0, 2, 3, 1\)"):
        effpath.capture(last, torch.zeros(1, 3, 8, 8))
    image = torch.rand(1, 8, 8, 3)
    (path,) = effpath.extract(effpath.capture(last, image), image)
    (plain,) = effpath.extract(effpath.capture(model, image.permute(0, 3, 1, 2)), image.permute(0, 3, 1, 2))
    assert path.synapses["model.0"] == plain.synapses["0"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("inside", [False, True])
def test_a_scripted_model_is_refused_with_what_to_do(inside: bool) -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval())
    with pytest.raises(
        CaptureError, match=r"Python source.*scripted.*load_state_dict\(scripted\.state_dict\(\)\)"
    ):
        effpath.capture(nn.Sequential(scripted) if inside else scripted, torch.zeros(1, 4))


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_model_is_refused_with_the_module() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    packed = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(CaptureError, match=r"quantised.*'1'.*capture the float model"):
        effpath.capture(packed, torch.zeros(1, 4))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"torch\.nn\.Module, got OrderedDict.*load_state_dict"):
        effpath.capture(nn.Linear(4, 3).state_dict(), torch.zeros(1, 4))


def test_a_compiled_model_is_captured_as_the_model_it_was_made_of() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    example = torch.zeros(1, 4)
    assert (
        effpath.capture(torch.compile(model), example).fingerprint == effpath.capture(model, example).fingerprint
    )
