"""Networks for the rows that read and write by index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from support.networks import Body, Layers

op = relax.op


def indices(values: Any) -> Any:
    return relax.const(np.asarray(values), "int64")


def take_channels(net: Layers, x: Any) -> Any:
    """A permutation, a selection and a repetition of channels."""
    h = net.block(x, 8, 3)
    permuted = net.emit(op.take(h, indices([3, 1, 0, 2, 7, 6, 5, 4]), axis=1))
    selected = net.emit(op.take(op.add(h, permuted), indices([6, 0, 3]), axis=1))
    repeated = net.emit(op.take(net.conv(x, 4), indices([0, 0, 1, 1, 2, 2, 3, 3]), axis=1))
    h = op.concat([op.multiply(permuted, repeated), selected], axis=1)
    return net.head(net.conv(h, 6))


def take_one_channel(net: Layers, x: Any) -> Any:
    h = net.conv(x, 8, 3)
    gate = op.expand_dims(op.take(h, indices(5), axis=1), [1])
    return net.head(net.conv(op.multiply(h, op.sigmoid(net.emit(gate))), 6))


def take_pixels(net: Layers, x: Any) -> Any:
    rows = net.emit(op.take(net.conv(x, 8, 3), indices([[0, 2, 2], [5, 1, 0]]), axis=2))
    return net.linear(op.mean(net.conv(op.mean(rows, [2]), 6), [2, 3]), 5)


def take_unevenly(net: Layers, x: Any) -> Any:
    """Channels that are looked up unequally often are rows of a table."""
    h = net.emit(op.take(net.conv(x, 4), indices([0, 1, 1, 2, 3, 3]), axis=1))
    return net.head(net.conv(h, 6))


def embedding(net: Layers, x: Any) -> Any:
    """The columns of a table are channels, its rows are words."""
    words = op.argmax(net.conv(x, 4), axis=1)  # (2, 6, 6)
    h = net.emit(op.take(net.parameter((4, 8)), net.emit(words), axis=0))
    return net.linear(op.mean(h, [1, 2]), 5)


def gather_elements(net: Layers, x: Any) -> Any:
    """Pixels in another order in every channel."""
    order = np.random.default_rng(0).integers(0, 6, (2, 8, 6, 6))
    h = net.emit(op.gather_elements(net.conv(x, 8, 3), indices(order), axis=3))
    return net.head(net.conv(h, 6))


def gather_fewer_elements(net: Layers, x: Any) -> Any:
    """The indices leave channels out."""
    order = np.random.default_rng(0).integers(0, 6, (2, 5, 6, 3))
    h = net.emit(op.gather_elements(net.conv(x, 8, 3), indices(order), axis=-1))
    return net.head(net.conv(h, 6))


def gather_nd(net: Layers, x: Any) -> Any:
    """Pixels of every sample: (2, 6, 6, 8) at (2, 3, 2) gives (2, 3, 8)."""
    h = net.emit(op.permute_dims(net.conv(x, 8, 3), [0, 2, 3, 1]))
    where = [[[0, 1], [2, 2], [5, 0]], [[1, 1], [3, 4], [0, 0]]]
    return net.linear(op.mean(net.emit(op.gather_nd(h, indices(where), 1)), [1]), 5)


def gather_nd_rows(net: Layers, x: Any) -> Any:
    h = net.conv(op.gather_nd(net.conv(x, 8, 3), indices([[1], [0], [1]])), 6)
    return net.head(h)


def index_tensor(net: Layers, x: Any) -> Any:
    """Pixels at (row, column): (6, 6, 2, 8) at two of each gives (3, 2, 8)."""
    h = net.emit(op.permute_dims(net.conv(x, 8, 3), [2, 3, 0, 1]))
    rows, columns = indices([[0], [3], [5]]), indices([[1, 2]])
    picked = net.emit(op.index_tensor(h, [rows, columns]))  # (3, 2, 2, 8)
    return net.linear(op.mean(picked, [0, 1]), 5)


def scatter_elements(net: Layers, x: Any) -> Any:
    h, updates = net.conv(x, 8, 3), op.strided_slice(net.conv(x, 8), [3], [0], [2])
    order = np.random.default_rng(0).permuted(np.tile(np.arange(6), (2, 8, 6, 1)), axis=3)
    h = net.emit(op.scatter_elements(h, indices(order[..., :2]), net.emit(updates), axis=3))
    return net.head(net.conv(h, 6))


def scatter_channels(net: Layers, x: Any) -> Any:
    order = np.broadcast_to(np.array([1, 4]).reshape(1, 2, 1, 1), (2, 2, 6, 6))
    h = op.scatter_elements(net.conv(x, 8, 3), indices(order), net.conv(x, 2), axis=1)
    return net.head(net.conv(h, 6))


def scatter_nd(net: Layers, x: Any) -> Any:
    """One sample of the batch is overwritten."""
    update = net.emit(op.strided_slice(net.conv(x, 8), [0], [0], [1]))
    h = net.emit(op.scatter_nd(net.conv(x, 8, 3), indices([[1]]), update))
    return net.head(net.conv(h, 6))


def scatter_nd_rows(net: Layers, x: Any) -> Any:
    """Channels are overwritten, by as many of another layer."""
    h = net.emit(op.permute_dims(net.conv(x, 8, 3), [1, 0, 2, 3]))
    update = net.emit(op.permute_dims(net.conv(x, 2), [1, 0, 2, 3]))
    h = net.emit(op.scatter_nd(h, indices([[1], [6]]), update))
    return net.head(net.conv(op.permute_dims(h, [1, 0, 2, 3]), 6))


def index_put(net: Layers, x: Any) -> Any:
    """Four pixels of the first channels are overwritten."""
    values = op.reshape(op.mean(net.conv(x, 2), [2, 3]), (4,))
    where = (indices([0, 0, 1, 1]), indices([0, 1, 0, 1]), indices([2, 3, 2, 0]))
    h = op.index_put(net.conv(x, 8, 3), (*where, indices([0, 1, 5, 3])), net.emit(values))
    return net.head(net.conv(net.emit(h), 6))


INDEXING_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    "relax.take": {
        "channels": take_channels,
        "one_channel": take_one_channel,
        "pixels": take_pixels,
        "unevenly": take_unevenly,
        "embedding": embedding,
    },
    "relax.gather_elements": {"": gather_elements, "fewer": gather_fewer_elements},
    "relax.gather_nd": {"": gather_nd, "rows": gather_nd_rows},
    "relax.index_tensor": {"": index_tensor},
    "relax.scatter_elements": {"": scatter_elements, "channels": scatter_channels},
    "relax.scatter_nd": {"": scatter_nd, "rows": scatter_nd_rows},
    "relax.index_put": {"": index_put},
}
