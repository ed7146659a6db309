"""Networks for the rows that move, join and repeat axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers

op = relax.op


def permute_dims(net: Layers, x: Any) -> Any:
    h = net.emit(op.permute_dims(net.conv(x, 8), [1, 3, 0, 2]))
    h = net.emit(op.nn.relu(op.permute_dims(h, None)))
    return net.linear(op.mean(h, [0, 2]), 5)


def expand_dims(net: Layers, x: Any) -> Any:
    h = op.expand_dims(net.conv(x, 8), [0, -1])
    scale = op.expand_dims(net.parameter((8,)), [0, 2, 3])
    h = op.multiply(h, op.expand_dims(scale, [-1]))
    return net.linear(op.mean(h, [0, 3, 4, 5]), 5)


def expand_dims_unordered(net: Layers, x: Any) -> Any:
    h = net.emit(op.expand_dims(net.conv(x, 8), [2, 0]))  # (1, 2, 1, 8, 6, 6)
    return net.linear(op.mean(h, [0, 2, 4, 5]), 5)


def squeeze(net: Layers, x: Any) -> Any:
    h = op.nn.adaptive_avg_pool2d(net.conv(x, 8), output_size=(1, 1))
    h = op.squeeze(op.squeeze(h, [-1]))
    return net.linear(h, 5)


def broadcast_to(net: Layers, x: Any) -> Any:
    scale = op.broadcast_to(net.parameter((8, 1, 1), "bias"), (2, 8, 6, 6))
    shared = op.broadcast_to(op.mean(x, [1], keepdims=True), (2, 8, 6, 6))
    h = op.add(op.multiply(net.conv(x, 8), scale), shared)
    return net.head(h)


def concat(net: Layers, x: Any) -> Any:
    parts = [net.block(x, 8, 3), x, net.block(x, 5)]
    h = net.block(op.concat(parts, axis=1), 6)
    return net.head(op.concat([h, h], axis=-2))


def concat_of_pixels(net: Layers, x: Any) -> Any:
    """Two images one above the other: their channels are the same axis."""
    return net.head(net.emit(op.concat([net.conv(x, 8), net.conv(x, 8, 3)], axis=2)))


def stack(net: Layers, x: Any) -> Any:
    h = op.stack([net.conv(x, 8), net.conv(x, 8, 3)], axis=1)
    return net.head(op.max(h, [1]))


def flip(net: Layers, x: Any) -> Any:
    h = op.flip(op.flip(net.block(x, 8, 3), axis=1), axis=-2)
    return net.head(op.add(net.emit(h), net.conv(x, 8)))


def reverse_sequence(net: Layers, x: Any) -> Any:
    lengths = relax.const([2, 5], "int64")
    h = net.emit(op.reverse_sequence(net.conv(x, 8, 3), lengths, seq_axis=2, batch_axis=0))
    return net.head(net.conv(op.multiply(h, net.conv(x, 8)), 6))


def repeat(net: Layers, x: Any) -> Any:
    """Channels and pixels, each where it stands, and one map for all channels."""
    h = op.repeat(op.repeat(net.conv(x, 4), 2, axis=1), 2, axis=-1)
    shared = op.repeat(op.repeat(net.conv(x, 1), 8, axis=1), 2, axis=3)
    return net.head(net.conv(op.add(net.emit(h), net.emit(shared)), 6))


def repeat_flat(net: Layers, x: Any) -> Any:
    """Without an axis the tensor becomes one vector."""
    pooled = net.emit(op.repeat(op.mean(net.conv(x, 4), [2, 3]), 3))
    gate = op.reshape(pooled, (2, 12, 1, 1))
    return net.head(net.conv(op.multiply(net.conv(net.conv(x, 8), 12), net.emit(gate)), 6))


def tile(net: Layers, x: Any) -> Any:
    """Channels and pixels as a whole, and one map for all channels."""
    h = net.emit(op.tile(net.conv(x, 4), (1, 2, 1, 2)))
    shared = net.emit(op.tile(net.conv(x, 1), (8, 1, 2)))
    return net.head(net.conv(op.add(h, shared), 6))


def tile_new_axis(net: Layers, x: Any) -> Any:
    h = net.emit(op.tile(net.parameter((8, 1, 1)), (2, 1, 1, 1)))
    return net.head(op.add(net.conv(x, 8, 3), h))


def meshgrid(net: Layers, x: Any) -> Any:
    """Every channel of one vector meets every channel of another."""
    rows, columns = net.parameter((8,)), net.parameter((6,))
    grid = net.emit(op.meshgrid([rows, columns], "ij"))
    weight = op.multiply(net.emit(grid[0]), op.sigmoid(net.emit(grid[1])))
    h = op.permute_dims(net.conv(x, 8), [0, 2, 3, 1])
    h = net.emit(op.mean(net.emit(op.matmul(net.emit(h), net.emit(weight))), [1, 2]))
    return net.linear(h, 5)


MOVEMENT_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    "relax.permute_dims": {"": permute_dims},
    "relax.expand_dims": {"": expand_dims, "unordered": expand_dims_unordered},
    "relax.squeeze": {"": squeeze},
    "relax.broadcast_to": {"": broadcast_to},
    "relax.concat": {"": concat, "pixels": concat_of_pixels},
    "relax.stack": {"": stack},
    "relax.flip": {"": flip},
    "relax.reverse_sequence": {"": reverse_sequence},
    "relax.repeat": {"": repeat, "flat": repeat_flat},
    "relax.tile": {"": tile, "new_axis": tile_new_axis},
    "relax.meshgrid": {"": meshgrid},
}
