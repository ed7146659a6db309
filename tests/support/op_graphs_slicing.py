"""Networks for the rows of splitting, slicing and padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers

op = relax.op


def split_sections(net: Layers, x: Any) -> Any:
    """A gated unit: one half multiplies the other."""
    halves = net.emit(op.split(net.conv(x, 12, 3), 2, axis=1))
    return net.head(op.multiply(halves[0], op.sigmoid(halves[1])))


def split_indices(net: Layers, x: Any) -> Any:
    parts = net.emit(op.split(net.conv(x, 12, 3), [3, 7], axis=-3))
    h = net.block(parts[1], 6)
    return net.head(op.concat([parts[2], h, parts[0]], axis=1))


def split_uneven(net: Layers, x: Any) -> Any:
    """Sections that do not divide the axis: 11 into 4, 4 and 3."""
    parts = net.emit(op.split(net.conv(x, 11), 3, axis=1))
    return net.head(op.concat([parts[1], parts[2], parts[0]], axis=1))


def split_single(net: Layers, x: Any) -> Any:
    """A section of one channel gates the others."""
    parts = net.emit(op.split(net.conv(x, 9), [1], axis=1))
    return net.head(op.multiply(parts[1], op.sigmoid(parts[0])))


def strided_slice(net: Layers, x: Any) -> Any:
    h = net.conv(x, 12, 3)
    left = op.strided_slice(h, [1, 2], [0, 1], [5, 6])
    right = op.strided_slice(h, [-3, 2], [-5, 1], [1000, 6])
    return net.head(net.conv(op.add(left, right), 6))


def slice_with_stride(net: Layers, x: Any) -> Any:
    h = net.block(
        op.strided_slice(net.conv(x, 12), [1, 2, 3], [0, 5, 0], [12, -7, 6], [2, -1, 2]), 8
    )
    return net.head(op.strided_slice(h, [2], [4], [0], [-2]))


def slice_of_every_other(net: Layers, x: Any) -> Any:
    """Channels go two ways, and come back in reverse order."""
    h = net.block(x, 12, 3)
    even = net.block(op.strided_slice(h, [1, 3], [0, 0], [12, 6], [2, 1]), 5)
    odd = net.emit(op.strided_slice(h, [-3], [11], [-13], [-2]))
    return net.head(net.conv(op.concat([even, odd], axis=1), 6))


def pad(mode: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = op.nn.pad(net.conv(x, 8, 3), (0, 0, 0, 0, 1, 2, 0, 1), mode)
        return net.head(net.conv(h, 6, 3))

    return body


def pad_channels(net: Layers, x: Any) -> Any:
    """A shortcut to a wider layer, without parameters."""
    h = net.block(x, 8, 3)
    wide = op.add(net.conv(h, 13, 3), net.emit(op.nn.pad(h, (0, 0, 1, 4, 0, 0, 0, 0))))
    return net.head(net.conv(wide, 6))


def pad_channels_reflecting(net: Layers, x: Any) -> Any:
    h = op.nn.pad(net.conv(x, 8, 3), (0, 0, 1, 2, 0, 0, 0, 0), "reflect")
    return net.head(net.conv(h, 6))


def slice_scatter(net: Layers, x: Any) -> Any:
    h, patch = net.conv(x, 8, 3), op.strided_slice(net.conv(x, 8), [2], [0], [2])
    return net.head(net.conv(op.slice_scatter(h, net.emit(patch), 1, 5, 2, axis=2), 6))


def slice_scatter_channels(net: Layers, x: Any) -> Any:
    h = net.emit(op.slice_scatter(net.conv(x, 8, 3), net.conv(x, 3), 2, 5, 1, axis=1))
    return net.head(net.conv(h, 6))


SLICING_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    "relax.split": {
        "sections": split_sections,
        "indices": split_indices,
        "uneven": split_uneven,
        "single": split_single,
    },
    "relax.strided_slice": {
        "": strided_slice,
        "stride": slice_with_stride,
        "every_other": slice_of_every_other,
    },
    "relax.nn.pad": {
        **{mode: pad(mode) for mode in ("constant", "reflect", "replicate", "circular")},
        "channels": pad_channels,
        "channels_reflecting": pad_channels_reflecting,
    },
    "relax.slice_scatter": {"": slice_scatter, "channels": slice_scatter_channels},
}
