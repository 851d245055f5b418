"""Attention in plain nodes: the outputs stay, and the values and the weights of it can be followed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer
from torchvision.models.swin_transformer import SwinTransformer, SwinTransformerBlockV2

import effpath
from cases import PRESETS, options_of
from effpath import Options
from effpath.kernels.options import make_options
from effpath.rules import plan_for
from effpath.walk.recording import record
from effpath.walk.visit import walk
from oracle import select_plain
from two_backends import BACKENDS, for_backend

HEADS, TOKENS, FEATURES = 2, 3, 4


class Attention(nn.Module):
    """Queries, keys and values from a linear layer, and any function of the three [N, heads, tokens, features]."""

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], key_heads: int = HEADS) -> None:
        super().__init__()
        self.qkv = nn.Linear(5, (HEADS + 2 * key_heads) * FEATURES)
        self.attend, self.heads = attend, [HEADS, key_heads, key_heads]

    def forward(self, x: Tensor) -> Tensor:
        x = self.qkv(x.flatten(1).reshape(-1, TOKENS, 5))
        parts = x.split([h * FEATURES for h in self.heads], dim=-1)
        q, k, v = (p.unflatten(-1, (-1, FEATURES)).transpose(1, 2) for p in parts)
        return self.attend(q, k, v).flatten(1)


def mask() -> Tensor:
    return torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


sdpa = F.scaled_dot_product_attention
FORMS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Attention(sdpa),
    "scaled": lambda: Attention(partial(sdpa, scale=0.3)),
    "causal": lambda: Attention(partial(sdpa, is_causal=True)),
    "added mask": lambda: Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=torch.arange(9.0).reshape(3, 3))),
    "boolean mask, one row whole": lambda: Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=mask())),
    "mask made of the image": lambda: Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=q[..., :3] > 0)),
    "heads that share keys": lambda: Attention(partial(sdpa, enable_gqa=True), key_heads=1),
    "unfused": lambda: Attention(lambda q, k, v: (q @ k.transpose(2, 3)).softmax(-1) @ v),
    "einsum": lambda: Attention(
        lambda q, k, v: torch.einsum("bhij,bhjd->bihd", torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1), v)
    ),
    "talking heads": lambda: Attention(
        lambda q, k, v: F.linear((q @ k.mT).softmax(-1).permute(0, 2, 3, 1), torch.eye(2)).permute(0, 3, 1, 2) @ v
    ),
    "from the right": lambda: Attention(lambda q, k, v: v.mT @ (k @ q.mT).softmax(-2)),
    "bmm with a bias": lambda: Attention(
        lambda q, k, v: torch.baddbmm(
            torch.full((1, 3, 3), 0.25), q.flatten(0, 1), k.flatten(0, 1).mT, beta=2, alpha=0.5
        ).softmax(-1).unflatten(0, (-1, 2)) @ v
    ),
    "linear, relu": lambda: Attention(lambda q, k, v: q.relu() @ (k.relu().mT @ v)),
    "linear, turned": lambda: Attention(lambda q, k, v: (v.mT @ k.relu()) @ q.relu().mT),
}  # fmt: skip


@cache
def captured(form: str) -> tuple[nn.Module, effpath.Graph, Tensor]:
    torch.manual_seed(3)
    model, images = FORMS[form]().eval(), torch.randn(3, TOKENS * 5)
    return model, effpath.capture(model, images), images


@pytest.mark.parametrize("form", FORMS)
def test_attention_in_plain_nodes_gives_the_outputs_that_it_gave_before(form: str) -> None:
    model, graph, images = captured(form)
    assert not {node.op for node in graph.nodes} & {"scaled_dot_product_attention", "einsum", "bmm", "baddbmm"}
    torch.testing.assert_close(graph(images), model(images).detach(), rtol=1e-5, atol=1e-6)


def last_product(graph: effpath.Graph) -> str:
    """Name of the product of attention and values."""
    return [node.name for node in graph.nodes if node.op == "matmul"][-1]


@pytest.mark.parametrize("form", FORMS)
def test_the_factor_of_a_product_comes_from_the_softmax_or_the_activation(form: str) -> None:
    _, graph, _ = captured(form)
    kind = plan_for(graph).kinds[last_product(graph)]
    upstream, values = graph.upstream([kind.factors]), graph.upstream(kind.sources)
    makers = ("softmax", "_softmax", "_safe_softmax", "relu")
    (first,) = {n.name for n in graph.nodes if n.op in makers and n.name in upstream - values} or {""}
    assert first
    assert sum(node.op == "linear" for node in graph.nodes if node.name in values) == 1  # of the values


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_attention_extracts_with_gates_and_without(form: str) -> None:
    _, graph, images = captured(form)
    plain, gated = (effpath.extract(graph, images, preset=Options(gates=gates)) for gates in (False, True))
    for before, after in zip(plain, gated, strict=True):
        assert before.synapses["qkv"] <= after.synapses["qkv"]


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("form", ["plain", "unfused", "heads that share keys", "added mask"])
def test_the_chosen_values_are_those_of_a_plain_loop_over_the_tokens(form: str, preset: str, gates: bool) -> None:
    _, graph, images = captured(form)
    options = make_options(options_of(preset, 0.5), gates=gates)
    recorded = record(graph, images, options=options, include_auxiliary=True)
    name = last_product(graph)
    kind = recorded.plan.kinds[name]
    active = torch.rand(recorded.logits.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    plain = recorded.plainly()
    product = plain.values[name].reshape(3, HEADS, TOKENS, FEATURES)
    values = plain.values[kind.sources[0]].reshape(3, HEADS, TOKENS, FEATURES)
    weights = plain.values[kind.factors].reshape(3, HEADS, TOKENS, TOKENS)
    expected = set()
    for image, output in active.nonzero().tolist():
        head, token, feature = (int(i) for i in torch.unravel_index(torch.tensor(output), product.shape[1:]))
        c = [float(weights[image, head, token, m] * values[image, head, m, feature]) for m in range(TOKENS)]
        for m in select_plain(c, float(product[image, head, token, feature]), None, options):
            expected.add((image, output, (head * TOKENS + m) * FEATURES + feature))
    for backend in BACKENDS:
        rows = walk(for_backend(recorded, backend), active).synapses[name]
        outputs, inputs = kind.window.ends(torch.from_numpy(rows.values))
        images_of = np.repeat(np.arange(3), rows.lengths).tolist()
        assert set(zip(images_of, outputs.tolist(), inputs.tolist(), strict=True)) == expected, backend
    assert len(expected) > 20


def test_with_gates_the_walk_goes_on_into_the_attention_weights_that_were_used() -> None:
    _, graph, images = captured("plain")
    name = last_product(graph)
    plain = effpath.extract(graph, images, include_auxiliary=True)
    gated = effpath.extract(graph, images, preset=Options(bias="candidate", gates=True), include_auxiliary=True)
    scores = next(node.name for node in graph.nodes if node.op == "matmul")
    assert scores not in plain[0].synapses
    for before, after in zip(plain, gated, strict=True):
        outputs, inputs = after.pairs(name)
        head, token = outputs // FEATURES // TOKENS, outputs // FEATURES % TOKENS
        used = set((head * TOKENS + token) * TOKENS + inputs // FEATURES % TOKENS)
        assert set(after.neurons[scores]) == used  # one score for each attention weight of a chosen synapse
        assert before.synapses[name] == after.synapses[name]
        assert before.synapses["qkv"] <= after.synapses["qkv"]
    assert any(len(b.neurons["qkv"]) < len(a.neurons["qkv"]) for b, a in zip(plain, gated, strict=True))


def vit() -> nn.Module:
    model = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    return model


def swin(**changes) -> nn.Module:
    return SwinTransformer([4, 4], 8, [2, 2], [2, 2], [4, 4], num_classes=3, **changes)


@cache
def transformer(make: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor, effpath.Graph]:
    """A transformer, images of it and its graph."""
    torch.manual_seed(0)
    model = make().eval()
    images = torch.randn(2, 3, 8, 8) if isinstance(model, nn.Sequential) else torch.randn(2, 3, 32, 32)
    return model, images, effpath.capture(model, images)


@pytest.mark.parametrize(
    "make",
    [
        vit,
        swin,
        partial(swin, block=SwinTransformerBlockV2),
        lambda: nn.Sequential(
            nn.Flatten(2),
            nn.TransformerEncoderLayer(64, 2, 32, batch_first=True).requires_grad_(False),  # torch's fast path
            nn.Flatten(),
        ),
    ],
    ids=["vit", "swin", "swin v2", "encoder layer"],
)
@pytest.mark.parametrize("gates", [False, True])
def test_a_transformer_extracts_from_its_logits_to_its_pixels(make: Callable[[], nn.Module], gates: bool) -> None:
    model, images, graph = transformer(make)
    torch.testing.assert_close(graph(images[:1]), model(images[:1]).detach(), rtol=1e-4, atol=1e-5)
    paths = effpath.extract(graph, images, preset=Options(gates=gates))
    assert all(len(pixels) for pixels in (paths.pixels[0], paths.pixels[1]))
    alone = effpath.extract(graph, images[1:], preset=Options(gates=gates))
    assert all(alone[0].synapses[key] == ids for key, ids in paths[1].synapses.items())
