"""The idioms of moving data: each leads to the element whose value it has, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
from cases import Call
from effpath.errors import UnknownOperatorError
from effpath.rules import RULES, plan_for
from effpath.rules.kinds import Gate, Route

SHAPE = (4, 4, 6)
IMAGE = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1  # all different
MASK = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) > 0.5
PERMUTED = torch.randperm(24, generator=torch.Generator().manual_seed(2))
FILL = -5.0


def tensor(*values: int) -> Tensor:
    return torch.tensor(values)


def changed(x: Tensor, change: Callable[[Tensor], object]) -> Tensor:
    """A copy of the images after something was written into it."""
    y = x.clone()
    change(y)
    return y


IDIOMS: dict[str, Callable[[Tensor], Tensor]] = {
    # views and shapes
    "view": lambda x: x.view(len(x), 8, 12),
    "reshape after transpose": lambda x: x.transpose(1, 3).reshape(len(x), -1),
    "view of a part": lambda x: x[:, 1:3].view(len(x), 2, 24),
    "flatten": lambda x: x.flatten(2),
    "unflatten": lambda x: x.unflatten(3, (2, 3)).transpose(3, 4),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "movedim": lambda x: x.movedim((1, 2), (3, 1)),
    "moveaxis": lambda x: x.moveaxis(1, 3),
    "swapdims": lambda x: x.swapdims(1, 3),
    "swapaxes": lambda x: x.swapaxes(1, 2),
    "matrix transpose": lambda x: x.mT,
    "squeeze": lambda x: x[:, 2:3].squeeze(1).unsqueeze(-1),
    "new axes": lambda x: x[:, None, :, ..., None],
    "contiguous": lambda x: x.permute(0, 3, 2, 1).contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last).flatten(1),
    "ravel of an image": lambda x: torch.stack([part.ravel() for part in x.unbind(1)], 1),
    # slices
    "strided slice": lambda x: x[:, ::2, 1::2, ::3],
    "negative bounds": lambda x: x[:, -3:-1, :, -4:],
    "ellipsis": lambda x: x[..., 2],
    "select": lambda x: x.select(2, -1),
    "narrow": lambda x: x.narrow(3, 1, 4),
    "split": lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1),
    "chunk": lambda x: x.chunk(3, 3)[2],
    "uneven chunk": lambda x: torch.cat(x.chunk(4, 3)[::-1], 3),
    "tensor_split": lambda x: x.tensor_split((1, 3), 2)[1],
    "tensor_split into parts": lambda x: x.tensor_split(4, 3)[0],
    "hsplit": lambda x: x.hsplit(2)[1],
    "vsplit inside": lambda x: x.transpose(0, 1).vsplit(2)[1].transpose(0, 1),
    "unbind": lambda x: torch.stack(x.unbind(3)[::-1], 3),
    "diagonal": lambda x: x.diagonal(1, 2, 3),
    "diagonal of two axes": lambda x: torch.diagonal(x, 0, 1, 2),
    # order
    "flip": lambda x: x.flip(1, 3),
    "flipud": lambda x: x.transpose(0, 1).flipud().transpose(0, 1),
    "fliplr": lambda x: x.flatten(1).fliplr(),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "roll of the flat image": lambda x: x.flatten(1).roll(5, 1),
    "rot90": lambda x: x.rot90(3, (2, 3)),
    "rot90, once": lambda x: x.rot90(1, (2, 3)),
    "window shift": lambda x: x.roll((-1, 2), (2, 3)),
    # copies
    "expand": lambda x: x[:, :, :1].expand(-1, -1, 5, -1),
    "broadcast_to": lambda x: torch.broadcast_to(x[:, :, None], (len(x), 4, 3, 4, 6)),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "repeat of one axis": lambda x: x.repeat(1, 2, 1, 1),
    "tile": lambda x: x.tile(1, 1, 2, 1),
    "repeat_interleave of channels": lambda x: x.repeat_interleave(2, dim=1),
    "repeat_interleave": lambda x: x.repeat_interleave(3, dim=2),
    "repeat_interleave by counts": lambda x: x.repeat_interleave(tensor(0, 2, 1, 3), dim=1, output_size=6),
    "meshgrid": lambda x: torch.stack(
        [torch.stack(torch.meshgrid(x[0, 0, 0], x[0, 1, 0], indexing="ij")).flatten()]
    ),
    # joining
    "cat": lambda x: torch.cat([x[:, 2:], x, x[:, :1]], 1),
    "cat with constants": lambda x: torch.cat([torch.full((len(x), 1, 4, 6), FILL, dtype=x.dtype), x], 1),
    "cat with integers": lambda x: torch.cat([torch.full((len(x), 1, 4, 6), -5), x], 1),
    "stack": lambda x: torch.stack([x, x.flip(3)], 2),
    "hstack": lambda x: torch.hstack([x[:, 1:], x[:, :1]]),
    "vstack": lambda x: torch.vstack([x.transpose(0, 1), x.transpose(0, 1)]).transpose(0, 1),
    "broadcast_tensors": lambda x: torch.stack(torch.broadcast_tensors(x[:, :1], x), 2),
    "expand_as": lambda x: x[:, :, :1].expand_as(x),
    "dstack": lambda x: torch.dstack([x, x.flip(2)]),
    "column_stack": lambda x: torch.column_stack([x.flatten(1), x[:, 0, 0]]),
    # padding
    "zero padding": lambda x: F.pad(x, (1, 2, 0, 3)),
    "padding by a value": lambda x: F.pad(x, (1, 2, 0, 3), value=FILL),
    "cropping": lambda x: F.pad(x, (-1, 2, -1, 0)),
    "reflection": lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"),
    "replication": lambda x: F.pad(x, (2, 1, 3, 0), mode="replicate"),
    "circular padding": lambda x: F.pad(x, (2, 1, 3, 0), mode="circular"),
    # patches and resizing
    "unfold into patches": lambda x: F.unfold(x, (2, 3), padding=1, stride=2),
    "unfold a dimension": lambda x: x.unfold(2, 3, 1),
    "unfold two dimensions": lambda x: x.unfold(2, 2, 2).unfold(3, 3, 3),
    "windows": lambda x: x.view(len(x), 4, 2, 2, 2, 3).permute(0, 2, 4, 3, 5, 1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "nearest resize": lambda x: F.interpolate(x, scale_factor=1.5),
    "nearest-exact resize": lambda x: F.interpolate(x, size=(3, 9), mode="nearest-exact"),
    # reading by index
    "one index": lambda x: x[:, :, tensor(2, 0, 2)],
    "negative index": lambda x: x[:, [-1, 0, -3]],
    "two indices": lambda x: x[:, tensor(0, 3), tensor(1, 1)],
    "two indices apart": lambda x: x[:, tensor(0, 3), :, tensor(1, 5)],
    "indices that broadcast": lambda x: x[:, tensor(0, 3)[:, None], tensor(1, 2, 0)],
    "boolean mask": lambda x: x[:, :, MASK],
    "index_select": lambda x: x.index_select(3, tensor(5, 0, 0)),
    "gather": lambda x: x.gather(3, tensor(5, 0).expand(len(x), 4, 4, 2)),
    "take_along_dim": lambda x: x.take_along_dim(tensor(3, 1).view(1, 2, 1, 1), 1),
    "take": lambda x: x.take(tensor(7, 95, 0)[None]),
    "order of a table": lambda x: x.flatten(2)[..., PERMUTED],
    "masked_select": lambda x: x[:, 0].masked_select(MASK)[None],
    # masks
    "masked_fill": lambda x: x.masked_fill(MASK, FILL),
    "masked_fill by a fixed tensor": lambda x: x.masked_fill(MASK, torch.tensor(FILL, dtype=x.dtype)),
    "masked_fill by an element": lambda x: x.masked_fill(MASK, x[0, 0, 0, 0]),
    "where": lambda x: torch.where(MASK, x, x.flip(1)),
    "where, else a number": lambda x: torch.where(MASK, x, FILL),
    "masked_fill by zero": lambda x: x.masked_fill(torch.ones(4, 6).tril().bool(), 0.0),
    "where, else zero": lambda x: torch.where(torch.ones(4, 6).tril().bool(), x, torch.zeros((), dtype=x.dtype)),
    "tril": lambda x: x.tril(1),
    "triu": lambda x: x.triu(-1),
    "diag_embed": lambda x: x[:, :, 0].diag_embed(),
    # writing
    "written slice": lambda x: changed(x, lambda y: y[:, 1:3, ::2].copy_(x[:, 0:2, 1::2])),
    "written slice, assigned": lambda x: changed(x, lambda y: y.__setitem__((slice(None), 0), x[:, 1])),
    "written constant": lambda x: changed(x, lambda y: y.__setitem__((slice(None), 0), FILL)),
    "swapped rows": lambda x: changed(x, lambda y: y.__setitem__((slice(None), [0, 1]), x[:, [1, 0]])),
    "written by mask": lambda x: changed(x, lambda y: y.__setitem__((slice(None), slice(None), MASK), FILL)),
    "filled in place": lambda x: changed(x, lambda y: y[:, :, 1].fill_(FILL)),
    "zeroed in place": lambda x: changed(x, lambda y: y[..., ::2].zero_()),
    "slice_scatter": lambda x: torch.zeros_like(x).slice_scatter(x[:, 1:3], 1, 0, 2),
    "select_scatter": lambda x: x.select_scatter(x[:, :, 0], 2, 3),
    "diagonal_scatter": lambda x: x.diagonal_scatter(x[:, :, 0, :4], 0, 2, 3),
    "index_put": lambda x: x.index_put((tensor(0), tensor(1)), x[:1, 2]),
    "index_put, accumulated on zeros": lambda x: torch.zeros_like(x).index_put(
        (tensor(0), tensor(1)), x[:1, 2], accumulate=True
    ),
    "index_copy": lambda x: x.index_copy(1, tensor(0, 3), x[:, 1:3]),
    "index_fill": lambda x: x.index_fill(2, tensor(0, 3), FILL),
    "index_add on zeros": lambda x: torch.zeros_like(x).index_add(1, tensor(2, 0), x[:, :2]),
    "scatter": lambda x: x.scatter(1, tensor(2, 0).view(1, 2, 1, 1).expand(len(x), 2, 4, 6), x[:, :2].flip(3)),
    "scatter of a number": lambda x: x.scatter(1, torch.ones(1, 1, 4, 6, dtype=torch.long), FILL),
    "scatter_add on zeros": lambda x: torch.zeros_like(x).scatter_add(
        1, tensor(2, 0).view(1, 2, 1, 1).expand(len(x), 2, 4, 6), x[:, :2]
    ),
    "masked_scatter": lambda x: x.masked_scatter(MASK, x.flip(1)),
    "put": lambda x: x.put(tensor(3, 90), x[0, 0, 0, :2]),
}  # fmt: skip


@cache
def followed() -> dict[str, tuple[list[float], list[list[int]]]]:
    """Of each idiom the outputs, and the pixels that each stands for; all of them in one network."""
    parts = {name: idiom(IMAGE).flatten().tolist() for name, idiom in IDIOMS.items()}
    every = Call(lambda x: torch.cat([idiom(x).reshape(1, -1) for idiom in IDIOMS.values()], 1))
    sources = _sources(effpath.capture(every.eval(), IMAGE))
    found, start = {}, 0
    for name, values in parts.items():
        found[name] = values, sources[start : start + len(values)]
        start += len(values)
    return found


def _sources(graph: effpath.Graph) -> list[list[int]]:
    """Follow the routes of a graph from every logit to the pixels."""
    found: list[list[int]] = [[] for _ in range(graph.classes)]
    ahead = {graph.logits: [(logit, logit) for logit in range(graph.classes)]}
    kinds = plan_for(graph).kinds
    for name in reversed(kinds):
        kind = kinds[name]
        route = kind.data if isinstance(kind, Gate) else kind
        assert isinstance(route, Route), name
        for logit, element in ahead.pop(name, []):
            at = element if route.ids is None else int(route.ids[element])
            for source in route.sources if at >= 0 else ():
                if at < graph.size(source):
                    ahead.setdefault(source, []).append((logit, at))
                    break
                at -= graph.size(source)
    for logit, element in ahead[graph.input]:
        found[logit].append(element)
    return found


@pytest.mark.parametrize("name", IDIOMS)
def test_an_idiom_leads_to_the_element_whose_value_it_has(name: str) -> None:
    values, sources = followed()[name]
    pixels = IMAGE.flatten().tolist()
    assert values
    for value, source in zip(values, sources, strict=True):
        assert [pixels[i] for i in source] == ([] if value in (0.0, FILL) else [value])


REFUSED: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "index_put that adds": ("index_put", lambda x: x.index_put((tensor(0, 0), tensor(1, 1)), x[:1, 2], True)),
    "index_put that adds to one": ("index_put", lambda x: x.index_put((tensor(0), tensor(1)), x[:1, 2], True)),
    "index_add": ("index_add", lambda x: x.index_add(1, tensor(0, 0), x[:, 1:3])),
    "index_add, doubled": ("index_add", lambda x: torch.zeros_like(x).index_add(1, tensor(0), x[:, :1], alpha=2)),
    "index_reduce": ("index_reduce", lambda x: x.index_reduce(1, tensor(0), x[:, :1], "prod")),
    "scatter_add": ("scatter_add", lambda x: x.scatter_add(1, tensor(2).view(1, 1, 1, 1), x)),
    "scatter that multiplies": (
        "scatter", lambda x: x.scatter(1, tensor(2).view(1, 1, 1, 1), x, reduce="multiply"),
    ),
    "scatter_reduce by the largest": (
        "scatter_reduce", lambda x: x.scatter_reduce(1, tensor(2).view(1, 1, 1, 1), x, "amax"),
    ),
    "put that adds": ("put", lambda x: x.put(tensor(3, 3), x[0, 0, 0, :2], accumulate=True)),
    "cumulative sum": ("cumsum", lambda x: x.cumsum(2)),
    "cumulative product": ("cumprod", lambda x: x.cumprod(2)),
    "largest so far": ("cummax", lambda x: x.cummax(2)[0]),
    "sort": ("sort", lambda x: x.sort(2)[0]),
    "topk": ("topk", lambda x: x.topk(2, 2)[0]),
    "median": ("median", lambda x: x.median(3)[0]),
    "order by values": ("index", lambda x: x.flatten(1)[:, x.flatten(1)[0].argsort()]),
    "gather by values": ("gather", lambda x: x.gather(1, x.argmax(1, keepdim=True))),
    "scatter by values": ("scatter", lambda x: x.scatter(1, x.argmax(1, keepdim=True), FILL)),
    "masked_scatter by values": ("masked_scatter", lambda x: x.masked_scatter(x > 1.5, x)),
    "bits": ("view", lambda x: x.view(torch.int64).double()),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*(beta|deprecated)")
@pytest.mark.parametrize("name", REFUSED)
def test_an_idiom_that_computes_with_elements_or_goes_by_values_is_refused_by_name(name: str) -> None:
    operator, idiom = REFUSED[name]
    graph = effpath.capture(Call(lambda x: idiom(x).flatten(1)).eval(), IMAGE)
    with pytest.raises(UnknownOperatorError, match=f"operator '{operator}'.*rule"):
        plan_for(graph)


@pytest.mark.parametrize(
    "operator",
    [
        lambda x: x.index_put((tensor(0, 0), tensor(1, 1)), x[:1, 2], True),
        lambda x: x.cumsum(2),
        lambda x: x.sort(2)[0],
        lambda x: x.abs(),
        lambda x: x.round(),
        lambda x: x.amax(2),
        lambda x: x.median(3)[0],
        lambda x: x * 2,
        lambda x: x + 1,
    ],
)
def test_a_user_who_calls_an_operator_a_movement_that_is_none_is_told(operator, monkeypatch) -> None:
    graph = effpath.capture(nn.Sequential(Call(operator), nn.Flatten()).eval(), IMAGE)
    node = next(node for node in graph.nodes if node.shape and node.op not in ("slice", "view", "getitem"))
    monkeypatch.setitem(RULES, node.op, effpath.rules.route.movement)
    with pytest.raises(UnknownOperatorError, match="rule"):
        plan_for(graph)
