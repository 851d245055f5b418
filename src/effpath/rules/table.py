"""The table: operator → rule. To add an operator, write a function of 3 to 15 lines and name it here."""

from __future__ import annotations

from collections.abc import Callable

from effpath.errors import UnknownOperatorError
from effpath.graph.graph import Graph
from effpath.graph.node import Node
from effpath.rules import gate, product, resize, route, sliding, weighted
from effpath.rules.kinds import Kind

Rule = Callable[[Graph, Node], Kind]

RULES: dict[str, Rule] = {
    # weighted: `select` decides
    "linear": weighted.linear,
    "conv1d": sliding.convolution,
    "conv2d": sliding.convolution,
    "conv3d": sliding.convolution,
    "conv_transpose1d": sliding.convolution,
    "conv_transpose2d": sliding.convolution,
    "conv_transpose3d": sliding.convolution,
    "avg_pool1d": sliding.average_pool,
    "avg_pool2d": sliding.average_pool,
    "avg_pool3d": sliding.average_pool,
    "adaptive_avg_pool1d": sliding.average_pool,
    "adaptive_avg_pool2d": sliding.average_pool,
    "adaptive_avg_pool3d": sliding.average_pool,
    "mean": weighted.mean,
    "sum": weighted.mean,
    "add": weighted.add,
    "sub": weighted.add,
    "rsub": weighted.add,
    "matmul": product.matmul,
    "col2im": sliding.fold,
    "upsample_linear1d": resize.interpolate,
    "upsample_bilinear2d": resize.interpolate,
    "upsample_trilinear3d": resize.interpolate,
    "upsample_bicubic2d": resize.interpolate,
    "_upsample_bilinear2d_aa": resize.interpolate,
    "_upsample_bicubic2d_aa": resize.interpolate,
    # choice: the largest input
    "max_pool1d": sliding.max_pool,
    "max_pool2d": sliding.max_pool,
    "max_pool3d": sliding.max_pool,
    "adaptive_max_pool1d": sliding.max_pool,
    "adaptive_max_pool2d": sliding.max_pool,
    "adaptive_max_pool3d": sliding.max_pool,
    "max": weighted.maximum,
    "amax": weighted.maximum,
    "maximum": weighted.maximum,
    # gate: one to one to the data operand
    "mul": gate.multiply,
    "div": gate.divide,
    "glu": gate.glu,
    "where": gate.where,
    "masked_fill": gate.masked_fill,
    "layer_norm": route.elementwise,
    "group_norm": route.elementwise,
    "instance_norm": route.elementwise,
    "rms_norm": route.elementwise,
    "batch_norm": route.elementwise,
}

_ELEMENTWISE = (
    "abs celu clamp clamp_max clamp_min elu erf exp gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu "
    "log log1p log_sigmoid log_softmax logit mish neg pow prelu reciprocal relu relu6 rsqrt selu sigmoid sign "
    "silu sin cos softmax _safe_softmax softplus softshrink sqrt square tan tanh threshold to _to_copy type_as"
)
_MOVEMENT = (
    "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d adjoint block_diag cat "
    "channel_shuffle chunk column_stack concat concatenate constant_pad_nd copy diag diag_embed diagflat diagonal "
    "diagonal_scatter dstack expand expand_as fill flatten flip fliplr flipud gather getitem hstack im2col index "
    "index_add index_copy index_fill index_put index_select linalg_diagonal masked_scatter masked_select moveaxis "
    "movedim narrow numpy_T pad permute pixel_shuffle pixel_unshuffle put ravel reflection_pad1d reflection_pad2d "
    "reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape "
    "reshape_as roll rot90 row_stack scatter scatter_add select select_scatter slice slice_scatter split "
    "split_with_sizes squeeze stack swapaxes swapdims t take take_along_dim tile transpose tril triu unbind "
    "unflatten unfold unsqueeze upsample_nearest1d upsample_nearest2d upsample_nearest3d view view_as vstack zero"
)
RULES.update(dict.fromkeys(_ELEMENTWISE.split(), route.elementwise))
RULES.update(dict.fromkeys(_MOVEMENT.split(), route.movement))


def rule_for(node: Node) -> Rule:
    """Return the rule of a node's operator, or say how to add one."""
    if node.dtype is not None and node.dtype.is_complex:
        raise UnknownOperatorError(
            f"no rule for {node.place}, which gives complex numbers ({node.dtype}): they have no order, so that "
            "no contribution is the largest; write it with real and imaginary parts apart"
        )
    if node.op not in RULES:
        raise UnknownOperatorError(
            f"no rule for {node.place}; add one with effpath.rules.RULES[{node.op!r}] = your_rule, a function "
            "of (graph, node) that returns a Weighted, Choice, Route or Gate (docs/howto-add-operator.md)"
        )
    return RULES[node.op]
