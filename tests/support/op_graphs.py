"""One small network for every row of the op table.

Each network makes channels with a convolution, sends them through the op and contracts them again.
Several networks exercise one row where the row has variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers, shape_of
from tvm_prune.channels.ops.elementwise import BINARY, UNARY
from tvm_prune.channels.ops.reduction import POOLS

op = relax.op
Unary = Callable[[Any], Any]


def scalar(value: float, dtype: str = "float32") -> Any:
    return relax.const(value, dtype)


def positive(x: Any) -> Any:
    """Values in (1/e, e), for ops that are not defined at or below zero."""
    return op.exp(op.tanh(x))


def fraction(x: Any) -> Any:
    """Values in (-0.9, 0.9), for ops that are defined near zero only."""
    return op.multiply(op.tanh(x), scalar(0.9))


def whole(x: Any) -> Any:
    """Small integers."""
    return op.astype(op.multiply(x, scalar(3.0)), "int32")


def flag(x: Any) -> Any:
    return op.greater(x, scalar(0.0))


def number(x: Any) -> Any:
    return op.astype(x, "float32")


def plus(x: Any, y: Any) -> Any:
    return op.add(x, y)


DOMAIN: Mapping[str, Callable[[Any], Any]] = {
    "acos": fraction,
    "acosh": lambda x: op.add(positive(x), scalar(1.0)),
    "asin": fraction,
    "atanh": fraction,
    "bitwise_not": whole,
    "log": positive,
    "logical_not": flag,
    "rsqrt": positive,
    "sqrt": positive,
    "tan": fraction,
    "nn.softplus": fraction,
}

ARGUMENTS: Mapping[str, Callable[[Any], Any]] = {
    "clip": lambda x: op.clip(x, -0.5, 0.5),
    "astype": lambda x: op.astype(x, "int32"),
    "isnan": lambda x: op.where(op.isnan(x), scalar(0.0), x),
    "isinf": lambda x: op.where(op.isinf(x), scalar(0.0), x),
    "isfinite": lambda x: op.where(op.isfinite(x), x, scalar(0.0)),
}


def function(name: str) -> Any:
    found: Any = op
    for part in name.split("."):
        found = getattr(found, part)
    return found


def unary_graph(name: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.emit(DOMAIN.get(name, lambda x: x)(net.conv(x, 8, 3)))
        h = net.emit(number(ARGUMENTS.get(name, function(name))(h)))
        return net.head(net.conv(h, 6))

    return body


def _operands(name: str, left: Any, right: Any) -> tuple[Any, Any]:
    if name == "power":
        return positive(left), right
    if name in ("divide", "floor_divide", "mod", "floor_mod"):
        return op.multiply(left, scalar(3.0)), positive(right)
    if name in ("equal", "not_equal"):
        return whole(left), whole(right)
    if name.startswith("logical"):
        return flag(left), flag(right)
    return left, right


def binary_graph(name: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        left, right = _operands(name, net.conv(x, 8, 3), net.conv(x, 8))
        h = net.emit(number(function(name)(left, right)))
        return net.head(net.conv(h, 6))

    return body


def pool_graph(name: str) -> Body:
    rank = int(name[-2])

    def body(net: Layers, x: Any) -> Any:
        h = net.conv(_spatial(net, x, rank), 8, 3)
        call = function(name.removeprefix("relax."))
        if "adaptive" in name:
            return net.head(call(h, output_size=(2,) * rank))
        return net.head(call(h, pool_size=(2,) * rank, strides=(2,) * rank))

    return body


def _spatial(net: Layers, x: Any, rank: int) -> Any:
    """The image with its pixels along `rank` axes."""
    shape = {1: (2, 3, 36), 2: (2, 3, 6, 6), 3: (2, 3, 3, 4, 3)}[rank]
    return x if rank == 2 else net.emit(op.reshape(x, shape))


def reduction_graph(name: str, keepdims: bool) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.conv(x, 8, 3)
        h = net.emit(function(name)(positive(h), [2, 3], keepdims))
        return net.head(h) if keepdims else net.linear(h, 5)

    return body


def conv_graph(rank: int, groups: int = 1, out: int = 8) -> Body:
    """A middle convolution from 8 to `out` channels."""

    def body(net: Layers, x: Any) -> Any:
        h = op.nn.relu(net.bias(net.conv(_spatial(net, x, rank), 8, 3)))
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


def tokens(net: Layers, x: Any, channels: int = 8) -> Any:
    """Channels last: one row a pixel."""
    shape = shape_of(x)
    h = op.reshape(net.conv(x, channels), (shape[0], channels, shape[2] * shape[3]))
    return net.emit(op.permute_dims(h, [0, 2, 1]))


def matmul_right(net: Layers, x: Any) -> Any:
    h = op.nn.relu(net.linear(tokens(net, x), 6))
    return net.linear(op.mean(h, [1]), 5)


def matmul_left(net: Layers, x: Any) -> Any:
    """W @ h, as importers write a dense layer on columns."""
    h = net.emit(op.reshape(net.conv(x, 8), (2, 8, 36)))
    h = net.emit(op.nn.relu(op.matmul(net.parameter((6, 8)), h)))
    return net.emit(op.matmul(net.parameter((5, 6)), h))


def matmul_batched(net: Layers, x: Any) -> Any:
    """A stack of weights, one for each sample."""
    h = op.matmul(tokens(net, x), net.parameter((2, 8, 6), "matmul"))
    return net.linear(net.emit(op.mean(net.emit(op.nn.relu(h)), [1])), 5)


def matmul_vector(net: Layers, x: Any) -> Any:
    """A matrix times a vector leaves no channel axis at all."""
    return net.emit(op.matmul(tokens(net, x), net.parameter((8,))))


def matmul_transposed(net: Layers, x: Any) -> Any:
    """Torch's Linear: the weight is transposed in the graph."""
    weight = op.permute_dims(net.parameter((6, 8)), None)
    h = op.nn.relu(net.emit(op.matmul(tokens(net, x), net.emit(weight))))
    return net.linear(op.mean(h, [1]), 5)


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


def pad(net: Layers, x: Any) -> Any:
    h = op.nn.pad(net.conv(x, 8, 3), (0, 0, 0, 0, 1, 2, 0, 1))
    return net.head(net.conv(h, 6, 3))


def softmax(name: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        spatial = net.emit(function(name)(net.conv(x, 8, 3), axis=-1))
        return net.head(net.conv(spatial, 6))

    return body


def batch_norm(net: Layers, x: Any) -> Any:
    h = op.nn.relu(net.batch_norm(net.conv(x, 8, 3)))
    h = op.permute_dims(net.conv(h, 6), [0, 2, 3, 1])
    h = net.batch_norm(h, axis=3)
    return net.linear(op.mean(h, [1, 2]), 5)


def dropout(net: Layers, x: Any) -> Any:
    h = net.emit(op.nn.dropout(net.conv(x, 8, 3), rate=0.5))
    return net.head(h[0])


def where(net: Layers, x: Any) -> Any:
    chooser = flag(net.conv(x, 8))
    return net.head(net.emit(op.where(chooser, net.conv(x, 8, 3), net.parameter((1, 8, 1, 1)))))


def flatten(net: Layers, x: Any) -> Any:
    h = op.nn.adaptive_avg_pool2d(net.block(x, 8), output_size=(2, 2))
    h = op.flatten(op.strided_slice(h, [0], [0], [1]))
    return net.linear(h, 5)


OP_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    **{f"relax.{name}": {"": unary_graph(name)} for name in UNARY},
    **{f"relax.{name}": {"": binary_graph(name)} for name in BINARY},
    **{name: {"": pool_graph(name)} for name in POOLS},
    **{
        f"relax.{name}": {
            "keepdims": reduction_graph(name, True),
            "flat": reduction_graph(name, False),
        }
        for name in ("sum", "mean", "max", "min", "prod", "std", "variance")
    },
    **{
        f"relax.nn.conv{rank}d": {
            "plain": conv_graph(rank),
            "grouped": conv_graph(rank, groups=2, out=12),
            "depthwise": conv_graph(rank, groups=8),
            "multiplier": conv_graph(rank, groups=8, out=24),
        }
        for rank in (1, 3)
    },
    "relax.nn.conv2d": {
        "plain": conv_graph(2),
        "grouped": conv_graph(2, groups=4, out=12),
        "depthwise": conv_graph(2, groups=8),
        "multiplier": conv_graph(2, groups=8, out=24),
        "nhwc": conv_nhwc,
        "depthwise_nhwc": depthwise_nhwc,
    },
    "relax.matmul": {
        "right": matmul_right,
        "left": matmul_left,
        "batched": matmul_batched,
        "vector": matmul_vector,
        "transposed": matmul_transposed,
    },
    "relax.reshape": {
        "flatten": reshape_flatten,
        "shuffle2": channel_shuffle(2),
        "shuffle6": channel_shuffle(6),
        "bias": reshape_bias,
        "splits_axis": reshape_splits_axis,
        "merges_and_splits": reshape_merges_and_splits,
        "merges_two_channel_axes": reshape_merges_two_channel_axes,
    },
    "relax.permute_dims": {"": permute_dims},
    "relax.expand_dims": {"": expand_dims, "unordered": expand_dims_unordered},
    "relax.squeeze": {"": squeeze},
    "relax.broadcast_to": {"": broadcast_to},
    "relax.concat": {"": concat, "pixels": concat_of_pixels},
    "relax.stack": {"": stack},
    "relax.split": {
        "sections": split_sections,
        "indices": split_indices,
        "uneven": split_uneven,
        "single": split_single,
    },
    "relax.strided_slice": {"": strided_slice, "stride": slice_with_stride},
    "relax.nn.pad": {"": pad},
    "relax.nn.softmax": {"": softmax("nn.softmax")},
    "relax.nn.log_softmax": {"": softmax("nn.log_softmax")},
    "relax.nn.batch_norm": {"": batch_norm},
    "relax.nn.dropout": {"": dropout},
    "relax.where": {"": where},
    "relax.flatten": {"": flatten},
}
"""Networks by op name and variant."""
