"""Ops that contract a channel axis with a parameter: convolutions and matrix products."""

from __future__ import annotations

import numpy as np
from tvm import relax

from tvm_prune.channels.labels import KERNEL_WINDOW, AxisLabels, TensorLabels, frozen_axis
from tvm_prune.channels.ops.elementwise import broadcast
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite


def _axis(layout: str, name: str) -> int:
    return layout.index(name)


def convolution(call: OpCall) -> TensorLabels:
    """Weight axis O gives the output channels; data channels match weight axis I.

    A grouped convolution keeps equally many channels in every one of its groups, and a depthwise
    one loses an output channel exactly where it loses the input channel.
    """
    data, weight = call.tensor(0), call.tensor(1)
    attrs = call.attrs
    channel = _axis(attrs.data_layout, "C")
    out_axis, in_axis = _axis(attrs.kernel_layout, "O"), _axis(attrs.kernel_layout, "I")
    for axis, labels in enumerate(weight):
        if axis not in (out_axis, in_axis):
            call.space.freeze(labels, KERNEL_WINDOW)
    out_labels, groups = weight[out_axis], int(attrs.groups)
    if groups == 1:
        call.tie(data[channel], weight[in_axis])
    else:
        _tie_groups(call, data[channel], weight[in_axis], out_labels, groups)
    layout = attrs.out_layout or attrs.data_layout
    result = [frozen_axis(int(extent)) for extent in call.call.ty.shape.values]
    result[_axis(layout, "N")] = data[_axis(attrs.data_layout, "N")]
    result[_axis(layout, "C")] = out_labels
    return tuple(result)


def _tie_groups(
    call: OpCall, data: AxisLabels, weight_in: AxisLabels, out: AxisLabels, groups: int
) -> None:
    if data.size == groups:
        multiplier = out.size // groups
        call.tie(out, np.repeat(data, multiplier))
        return
    data_rows, out_rows = data.reshape(groups, -1), out.reshape(groups, -1)
    for row in range(groups):
        call.tie(data_rows[row], weight_in)
        call.tie(out_rows[0], out_rows[row])


def rewrite_convolution(rewrite: Rewrite) -> relax.Expr:
    """The same convolution with the number of groups that is left."""
    attrs = rewrite.attrs
    groups = int(attrs.groups)
    data = rewrite.inputs[0][_axis(attrs.data_layout, "C")]
    if groups > 1 and data.size == groups:
        groups = rewrite.extent(data)
    return CONVOLUTIONS[rewrite.call.op.name](
        *rewrite.arguments,
        strides=attrs.strides,
        padding=attrs.padding,
        dilation=attrs.dilation,
        groups=groups,
        data_layout=attrs.data_layout,
        kernel_layout=attrs.kernel_layout,
        out_layout=attrs.out_layout,
        out_dtype=attrs.out_dtype or None,
    )


def matmul(call: OpCall) -> TensorLabels:
    """(..., M, K) x (..., K, N): K is contracted, batch axes are broadcast."""
    left, right = call.tensor(0), call.tensor(1)
    contracted = right[-2] if len(right) > 1 else right[-1]
    call.tie(left[-1], contracted)
    batch = broadcast(call, [left[:-2], right[:-2]]) if len(left) > 2 or len(right) > 2 else ()
    rows = left[-2:-1] if len(left) > 1 else ()
    columns = right[-1:] if len(right) > 1 else ()
    return (*batch, *rows, *columns)


CONVOLUTIONS = {
    "relax.nn.conv1d": relax.op.nn.conv1d,
    "relax.nn.conv2d": relax.op.nn.conv2d,
    "relax.nn.conv3d": relax.op.nn.conv3d,
}

CONTRACTION: OpTable = {
    **{name: OpRule(convolution, rewrite_convolution) for name in CONVOLUTIONS},
    "relax.matmul": OpRule(matmul),
}
