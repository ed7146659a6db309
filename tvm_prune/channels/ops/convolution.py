"""Convolutions, plain and transposed, over one to three spatial axes, in every plain layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_prune.channels.labels import KERNEL_WINDOW, AxisLabels, TensorLabels, frozen_axis
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite

nn = relax.op.nn


def lose_whole_groups(groups: int, *widths: int) -> bool:
    """Whether channels that stand in groups of the given widths are removed by whole groups.

    The other way is to take equally many channels out of every group, which gives every side as
    many units as its groups are wide. Both leave groups of equal width; what matters is the side
    with the fewest units.
    """
    return groups > min(widths)


def convolution(call: OpCall) -> TensorLabels:
    """The weight gives the output channels; its input axis follows the channels of the data.

    Depthwise convolutions lose an output channel with its input channel, grouped ones whole groups
    or equally many channels in every group, whichever is the finer choice. Spatial axes stay, and
    so does everything in packed layouts.
    """
    if _is_packed(call):
        return _frozen_result(call)
    data, into, out, groups = _channels(call)
    if groups == 1:
        call.tie(data, into)
    elif lose_whole_groups(groups, into.size, out.size // groups):
        call.freeze(into, "spans a group that goes as a whole")
        _tie_columns(call, np.hstack([data.reshape(groups, -1), out.reshape(groups, -1)]))
    else:
        _tie_columns(call, np.column_stack([data.reshape(groups, -1).T, into]))
        _tie_columns(call, out.reshape(groups, -1).T)
    return _result(call, out)


def transposed_convolution(call: OpCall) -> TensorLabels:
    """The weight's input axis follows the channels of the data, its output axis gives channels.

    Depthwise and grouped ones lose what a convolution with as many groups loses. Spatial axes stay,
    and so does everything in packed layouts.
    """
    if _is_packed(call):
        return _frozen_result(call)
    data, into, out, groups = _channels(call)
    call.tie(data, into)
    if groups == 1:
        return _result(call, out)
    rows = data.reshape(groups, -1)
    if lose_whole_groups(groups, rows.shape[1], out.size):
        call.freeze(out, "spans a group that goes as a whole")
        _tie_columns(call, rows)
        return _result(call, np.repeat(rows[:, 0], out.size))
    _tie_columns(call, rows.T)
    return _result(call, np.tile(np.maximum(out, 0), groups))


def _is_packed(call: OpCall) -> bool:
    """Whether a layout such as NCHW4c cuts an axis into blocks."""
    attrs = call.attrs
    layouts = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout)
    return any(not layout.isalpha() for layout in layouts if layout)


def _frozen_result(call: OpCall) -> TensorLabels:
    for labels in (*call.tensor(0), *call.tensor(1)):
        call.freeze(labels, "is in a packed layout")
    return tuple(frozen_axis(int(extent)) for extent in call.call.ty.shape.values)


def _channels(call: OpCall) -> tuple[AxisLabels, AxisLabels, AxisLabels, int]:
    """Channels of the data, the weight's input and output axis, and the number of groups.

    The window's axes of data and weight stay.
    """
    data, weight, attrs = call.tensor(0), call.tensor(1), call.attrs
    for name, labels in zip(attrs.data_layout, data, strict=True):
        if name not in "NC":
            call.freeze(labels, "is covered by the window")
    for name, labels in zip(attrs.kernel_layout, weight, strict=True):
        if name not in "OI":
            call.space.freeze(labels, KERNEL_WINDOW)
    into, out = (weight[attrs.kernel_layout.index(axis)] for axis in "IO")
    return data[attrs.data_layout.index("C")], into, out, int(attrs.groups)


def _tie_columns(call: OpCall, table: np.ndarray[Any, Any]) -> None:
    """Make the labels in each row of a table live or die together."""
    first, others = table[:, :1], table[:, 1:]
    call.tie(np.broadcast_to(first, others.shape).ravel(), others.ravel())


def _result(call: OpCall, channels: AxisLabels) -> TensorLabels:
    attrs = call.attrs
    layout = attrs.out_layout or attrs.data_layout
    result = [frozen_axis(int(extent)) for extent in call.call.ty.shape.values]
    result[layout.index("N")] = call.tensor(0)[attrs.data_layout.index("N")]
    result[layout.index("C")] = channels
    return tuple(result)


def rewrite_convolution(rewrite: Rewrite) -> Any:
    """The same convolution with the groups that are left."""
    attrs = rewrite.attrs
    weight = rewrite.inputs[1]
    widths = [
        weight[attrs.kernel_layout.index("I")].size,
        weight[attrs.kernel_layout.index("O")].size // int(attrs.groups),
    ]
    return _with_groups(rewrite, _groups_left(rewrite, *widths), {})


def rewrite_transposed(rewrite: Rewrite) -> Any:
    """The same transposed convolution with the groups that are left."""
    attrs = rewrite.attrs
    weight = rewrite.inputs[1]
    widths = [
        weight[attrs.kernel_layout.index("I")].size // int(attrs.groups),
        weight[attrs.kernel_layout.index("O")].size,
    ]
    padding = {"output_padding": attrs.output_padding}
    return _with_groups(rewrite, _groups_left(rewrite, *widths), padding)


def _groups_left(rewrite: Rewrite, width_in: int, width_out: int) -> int:
    groups = int(rewrite.attrs.groups)
    if groups == 1 or not lose_whole_groups(groups, width_in, width_out):
        return groups
    channels = rewrite.inputs[0][rewrite.attrs.data_layout.index("C")]
    return rewrite.extent(channels) // width_in


def _with_groups(rewrite: Rewrite, groups: int, more: dict[str, Any]) -> Any:
    attrs = rewrite.attrs
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
        **more,
    )


PLAIN = {
    "relax.nn.conv1d": nn.conv1d,
    "relax.nn.conv2d": nn.conv2d,
    "relax.nn.conv3d": nn.conv3d,
}

TRANSPOSED = {
    "relax.nn.conv1d_transpose": nn.conv1d_transpose,
    "relax.nn.conv2d_transpose": nn.conv2d_transpose,
    "relax.nn.conv3d_transpose": nn.conv3d_transpose,
}

CONVOLUTIONS = {**PLAIN, **TRANSPOSED}

CONVOLUTION: OpTable = {
    **{name: OpRule(convolution, rewrite_convolution) for name in PLAIN},
    **{name: OpRule(transposed_convolution, rewrite_transposed) for name in TRANSPOSED},
}
