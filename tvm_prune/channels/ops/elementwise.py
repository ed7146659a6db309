"""Ops that work on every position by itself."""

from __future__ import annotations

from tvm_prune.channels.labels import NEUTRAL, AxisLabels, TensorLabels
from tvm_prune.channels.rule import OpCall, OpRule, OpTable

UNARY = """
abs acos acosh asin asinh atan atanh bitwise_not ceil clip cos cosh erf exp floor isfinite isinf
isnan log logical_not negative round rsqrt sigmoid sign sin sinh sqrt square tan tanh trunc
astype nn.relu nn.gelu nn.gelu_tanh nn.silu nn.leakyrelu nn.softplus nn.selu
""".split()

BINARY = """
add subtract multiply divide floor_divide power maximum minimum mod floor_mod equal not_equal
greater greater_equal less less_equal logical_and logical_or logical_xor atan2 log_add_exp
bitwise_and bitwise_or bitwise_xor left_shift right_shift
""".split()

LIKE = ["full_like", "zeros_like", "ones_like"]


def broadcast(call: OpCall, operands: list[TensorLabels]) -> TensorLabels:
    """Labels of the broadcast of several tensors; equal positions are tied."""
    rank = max(len(operand) for operand in operands)
    result = []
    for offset in range(rank, 0, -1):
        axes = [operand[-offset] for operand in operands if len(operand) >= offset]
        result.append(_broadcast_axis(call, axes))
    return tuple(result)


def _broadcast_axis(call: OpCall, axes: list[AxisLabels]) -> AxisLabels:
    extent = max(axis.size for axis in axes)
    full = [axis for axis in axes if axis.size == extent and axis[0] != NEUTRAL] or axes
    for axis in axes:
        if axis.size < extent:
            call.freeze(axis, "is one channel that stretches over many")
    for other in full[1:]:
        call.tie(full[0], other)
    return full[0]


def unary(call: OpCall) -> TensorLabels:
    """Labels pass through unchanged."""
    return call.tensor(0)


def elementwise(call: OpCall) -> TensorLabels:
    """Operands are broadcast together; equal positions are tied.

    A single channel that stretches over many stays.
    """
    return broadcast(call, [labels for labels in call.inputs if labels is not None])


def dropout(call: OpCall) -> tuple[TensorLabels, TensorLabels]:
    """The result and the mask have the labels of the data."""
    return call.tensor(0), call.tensor(0)


def per_channel(call: OpCall) -> TensorLabels:
    """Labels pass through; slopes, scales and zero points follow the axis."""
    data = call.tensor(0)
    channels = data[int(call.attrs.axis) % len(data)]
    for values in call.inputs[1:]:
        for labels in values:
            if labels.size == channels.size:
                call.tie(channels, labels)
    return data


def bucketize(call: OpCall) -> TensorLabels:
    """Labels pass through.

    Every boundary stays.
    """
    call.freeze(call.tensor(1)[0], "is a boundary")
    return call.tensor(0)


ELEMENTWISE: OpTable = {
    **{f"relax.{name}": OpRule(unary) for name in (*UNARY, *LIKE)},
    **{f"relax.{name}": OpRule(elementwise) for name in (*BINARY, "where")},
    "relax.nn.dropout": OpRule(dropout),
    "relax.nn.prelu": OpRule(per_channel),
    "relax.quantize": OpRule(per_channel),
    "relax.dequantize": OpRule(per_channel),
    "relax.bucketize": OpRule(bucketize),
}
