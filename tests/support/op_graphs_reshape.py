"""Networks for the rows that merge and split axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers, bent

op = relax.op


def reshape_flatten(net: Layers, x: Any) -> Any:
    h = op.nn.max_pool2d(net.block(x, 8, 3), pool_size=(3, 3), strides=(3, 3))
    return net.linear(op.reshape(h, (2, 32)), 5)


def channel_shuffle(groups: int) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.conv(net.block(x, 8), 12, groups=2)
        h = op.reshape(h, (2, groups, 12 // groups, 6, 6))
        h = op.reshape(op.permute_dims(h, [0, 2, 1, 3, 4]), (2, 12, 6, 6))
        return net.head(net.conv(h, 6, 3))

    return body


def reshape_bias(net: Layers, x: Any) -> Any:
    bias = net.emit(op.reshape(net.parameter((8,), "bias"), (1, 8, 1, 1)))
    return net.head(op.add(net.conv(x, 8, 3), bias))


def reshape_splits_axis(net: Layers, x: Any) -> Any:
    """Channels are cut into 2 x 4 and each part is scaled by its own weight."""
    h = op.reshape(net.conv(x, 8), (2, 2, 4, 6, 6))
    h = op.multiply(h, net.parameter((1, 1, 4, 1, 1)))
    return net.head(op.reshape(h, (2, 8, 6, 6)))


def reshape_merges_and_splits(net: Layers, x: Any) -> Any:
    """(4, 6) becomes (6, 4): the bounds of the channels are not those of the new axis."""
    h = op.reshape(net.conv(x, 4), (2, 4, 36))
    h = op.reshape(op.strided_slice(h, [2], [0], [6]), (2, 6, 4))
    return net.linear(op.permute_dims(op.multiply(h, h), [0, 2, 1]), 5)


def reshape_merges_two_channel_axes(net: Layers, x: Any) -> Any:
    """Only one of two merged channel axes can be pruned."""
    outer = op.multiply(net.parameter((3, 1), "gamma"), net.parameter((1, 4), "gamma"))
    bias = op.reshape(op.reshape(outer, (12,)), (1, 12, 1, 1))
    return net.head(net.emit(op.add(net.conv(x, 12), bias)))


def flatten(net: Layers, x: Any) -> Any:
    h = op.nn.adaptive_avg_pool2d(net.block(x, 8), output_size=(2, 2))
    h = op.flatten(op.strided_slice(h, [0], [0], [1]))
    return net.linear(h, 5)


def pixel_shuffle(inner: int) -> Body:
    """Blocks of 2 x 2 pixels come out of the channels."""

    def body(net: Layers, x: Any) -> Any:
        h = op.reshape(net.block(x, 4 * inner), (2, inner, 2, 2, 6, 6))
        h = op.reshape(op.permute_dims(h, [0, 1, 4, 2, 5, 3]), (2, inner, 12, 12))
        return net.head(net.conv(h, 6, 3))

    return body


def pixel_unshuffle(net: Layers, x: Any) -> Any:
    """Blocks of 2 x 2 pixels become channels."""
    h = op.reshape(net.block(x, 5), (2, 5, 3, 2, 3, 2))
    h = op.reshape(op.permute_dims(h, [0, 1, 3, 5, 2, 4]), (2, 20, 3, 3))
    return net.head(net.conv(h, 6))


def depth_to_space(net: Layers, x: Any) -> Any:
    """As pixel shuffle, with the block before the channels."""
    h = op.reshape(net.block(x, 12), (2, 2, 2, 3, 6, 6))
    h = op.reshape(op.permute_dims(h, [0, 3, 4, 1, 5, 2]), (2, 3, 12, 12))
    return net.head(net.conv(h, 6, 3))


def windows(net: Layers, x: Any) -> Any:
    """An image is cut into windows, and put together again."""
    h = op.reshape(net.block(x, 8), (2, 8, 2, 3, 2, 3))
    h = op.reshape(op.permute_dims(h, [0, 2, 4, 3, 5, 1]), (8, 9, 8))
    h = op.reshape(net.linear(bent(h), 6), (2, 2, 2, 3, 3, 6))
    h = op.reshape(op.permute_dims(h, [0, 5, 1, 3, 2, 4]), (2, 6, 6, 6))
    return net.head(net.conv(h, 4))


def with_positions_of_the_input(net: Layers, x: Any) -> Any:
    """Pixels of a map made of the input alone are merged with channels."""
    h = op.multiply(net.conv(x, 8), op.mean(x, [1], keepdims=True))
    return net.linear(op.reshape(h, (2, 8 * 36)), 5)


RESHAPE_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    "relax.reshape": {
        "flatten": reshape_flatten,
        "shuffle2": channel_shuffle(2),
        "shuffle6": channel_shuffle(6),
        "bias": reshape_bias,
        "splits_axis": reshape_splits_axis,
        "merges_and_splits": reshape_merges_and_splits,
        "merges_two_channel_axes": reshape_merges_two_channel_axes,
        "pixel_shuffle": pixel_shuffle(3),
        "pixel_shuffle_few": pixel_shuffle(2),
        "pixel_unshuffle": pixel_unshuffle,
        "depth_to_space": depth_to_space,
        "windows": windows,
        "positions_of_the_input": with_positions_of_the_input,
    },
    "relax.flatten": {"": flatten},
}
