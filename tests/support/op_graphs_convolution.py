"""Networks for the rows of convolutions, plain and transposed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers
from support.op_graphs_pooling import spatial_axes

op = relax.op


def conv_graph(rank: int, groups: int = 1, out: int = 8) -> Body:
    """A middle convolution from 8 to `out` channels."""

    def body(net: Layers, x: Any) -> Any:
        h = op.nn.relu(net.bias(net.conv(spatial_axes(net, x, rank), 8, 3)))
        h = op.nn.relu(net.bias(net.conv(h, out, 3, groups)))
        return net.head(net.conv(h, 6))

    return body


def conv_nhwc(net: Layers, x: Any) -> Any:
    h = net.emit(op.permute_dims(x, [0, 2, 3, 1]))
    for out, last in ((8, 3), (6, 8)):
        weight = net.parameter((3, 3, last, out))
        h = op.nn.conv2d(h, weight, padding=1, data_layout="NHWC", kernel_layout="HWIO")
        h = net.emit(op.nn.relu(h))
    return net.linear(op.mean(h, [1, 2]), 5)


def depthwise_nhwc(net: Layers, x: Any) -> Any:
    h = net.emit(op.permute_dims(net.block(x, 8), [0, 2, 3, 1]))
    weight = net.parameter((3, 3, 1, 8))
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    h = net.emit(op.nn.conv2d(h, weight, padding=1, groups=8, **layouts))
    return net.linear(op.mean(h, [1, 2]), 5)


def transposed_graph(rank: int, groups: int = 1, out: int = 8) -> Body:
    """A transposed convolution from 8 to `out` channels that doubles every spatial axis."""

    def body(net: Layers, x: Any) -> Any:
        h = net.block(spatial_axes(net, x, rank), 8)
        weight = net.parameter((8, out // groups, *[3] * rank), "conv")
        layer = (op.nn.conv1d_transpose, op.nn.conv2d_transpose, op.nn.conv3d_transpose)[rank - 1]
        h = layer(h, weight, strides=2, padding=1, output_padding=(1,) * rank, groups=groups)
        return net.head(net.conv(op.nn.relu(net.bias(h)), 6))

    return body


def grouped_nhwc(net: Layers, x: Any) -> Any:
    h = net.emit(op.permute_dims(net.block(x, 8), [0, 2, 3, 1]))
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    h = net.emit(op.nn.conv2d(h, net.parameter((1, 1, 2, 16)), groups=4, **layouts))
    return net.linear(op.mean(h, [1, 2]), 5)


def window_over_channels(net: Layers, x: Any) -> Any:
    """A window slides over an axis that was made of channels: those stay."""
    h = net.emit(op.permute_dims(net.conv(x, 8), [0, 2, 1, 3]))
    return net.head(net.conv(h, 6, 3))


GROUPED = {"groups": 2, "out": 12}
"""Two groups of four: equally many channels go in both."""

WHOLE = {"groups": 4, "out": 8}
"""Four groups of two: whole groups go."""

WIDENING = {"groups": 4, "out": 32}
"""Two channels become eight in each of four groups."""

DEPTHWISE = {"groups": 8, "out": 8}
MULTIPLIER = {"groups": 8, "out": 24}
MANY = {"groups": 8, "out": 128}
"""More outputs of each channel than there are channels."""

GROUPINGS: Mapping[str, Mapping[str, int]] = {
    "plain": {},
    "grouped": GROUPED,
    "whole": WHOLE,
    "widening": WIDENING,
    "depthwise": DEPTHWISE,
    "multiplier": MULTIPLIER,
    "many": MANY,
}

CONVOLUTION_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    **{
        f"relax.nn.conv{rank}d": {
            name: conv_graph(rank, **grouping) for name, grouping in GROUPINGS.items()
        }
        for rank in (1, 3)
    },
    "relax.nn.conv2d": {
        **{name: conv_graph(2, **grouping) for name, grouping in GROUPINGS.items()},
        "nhwc": conv_nhwc,
        "depthwise_nhwc": depthwise_nhwc,
        "grouped_nhwc": grouped_nhwc,
        "window_over_channels": window_over_channels,
    },
    **{
        f"relax.nn.conv{rank}d_transpose": {
            name: transposed_graph(rank, **grouping) for name, grouping in GROUPINGS.items()
        }
        for rank in (1, 2, 3)
    },
}
