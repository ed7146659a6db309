"""Networks for the rows of statistics, scans and sorting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax, tirx

from support.networks import Body, Layers
from support.op_graphs_elementwise import function, positive

op = relax.op


def reduction_graph(name: str, keepdims: bool) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.conv(x, 8, 3)
        h = net.emit(function(name)(positive(h), [2, 3], keepdims))
        return net.head(h) if keepdims else net.linear(h, 5)

    return body


def over_channels(name: str) -> Body:
    """A map of the image that all channels share, and a number for each sample."""

    def body(net: Layers, x: Any) -> Any:
        h = net.emit(positive(net.conv(x, 8, 3)))
        shared = net.emit(function(name)(h, [1], True))
        total = net.emit(function(name)(h))
        h = op.add(op.multiply(h, op.tanh(shared)), op.tanh(total))
        return net.head(net.conv(h, 6))

    return body


def flat_over_channels(name: str) -> Body:
    """Statistics over channels and pixels alike are the output."""

    def body(net: Layers, x: Any) -> Any:
        h = net.emit(positive(net.conv(net.conv(x, 8, 3), 6)))
        return net.emit(function(name)(h, [1, -1], False))

    return body


def softmax(name: str, axis: int) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.emit(function(name)(net.conv(x, 8, 3), axis=axis))
        return net.head(net.conv(h, 6))

    return body


def normalised(net: Layers, x: Any) -> Any:
    """Channels of unit length, as cosine attention has them."""
    h = net.conv(x, 8, 3)
    length = op.sqrt(net.emit(op.sum(op.multiply(h, h), [1], keepdims=True)))
    return net.head(net.conv(op.divide(h, length), 6))


def selected_by(name: str) -> Body:
    """The strongest channel, and in every other channel the strongest pixel."""

    def body(net: Layers, x: Any) -> Any:
        h = net.conv(x, 8, 3)
        pixel = number(net.emit(function(name)(h, axis=3, keepdims=True)))
        channel = number(net.emit(function(name)(net.conv(x, 4), axis=1, keepdims=True)))
        return net.head(net.conv(op.multiply(pixel, op.add(channel, relax.const(1.0))), 6))

    return body


def number(x: Any) -> Any:
    return op.astype(x, "float32")


def median(net: Layers, x: Any) -> Any:
    found = net.emit(op.median(net.conv(x, 8, 3), [2], keepdims=True))
    channel = net.emit(op.median(net.conv(x, 5), [1], keepdims=True))
    return net.head(net.conv(op.multiply(found[0], channel[0]), 6))


def ordered_by(name: str) -> Body:
    """Scanned along pixels, and along channels of its own."""

    def body(net: Layers, x: Any) -> Any:
        h = net.emit(number(function(name)(op.tanh(net.conv(x, 8, 3)), axis=-1)))
        other = net.emit(number(function(name)(op.tanh(net.conv(x, 5)), axis=1)))
        return net.head(op.concat([net.conv(h, 6), net.conv(other, 4)], axis=1))

    return body


def scanned_flat(net: Layers, x: Any) -> Any:
    """Without an axis the tensor is scanned as one vector."""
    pooled = op.mean(net.conv(x, 8), [2, 3])
    vector = net.emit(op.reshape(op.cumsum(pooled), (2, 8)))
    return net.linear(op.concat([vector, op.mean(net.conv(x, 6), [2, 3])], axis=1), 5)


def topk(kind: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        found = net.emit(op.topk(net.conv(x, 8, 3), 2, axis=3, ret_type=kind))
        values = found[0] if kind == "both" else found
        return net.head(net.conv(number(values), 6))

    return body


def one_hot(axis: int) -> Body:
    def body(net: Layers, x: Any) -> Any:
        index = op.astype(op.argmax(net.conv(x, 8, 3), axis=3), "int32")
        on, off = tirx.FloatImm("float32", 1.0), tirx.FloatImm("float32", 0.0)
        classes = net.emit(op.one_hot(net.emit(index), on, off, depth=6, axis=axis))
        pooled = op.mean(classes, [2] if axis == -1 else [3])
        return net.linear(net.emit(op.squeeze(op.max(pooled, [2], True), [2])), 5)

    return body


def triangle(name: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.emit(function(name)(net.conv(x, 8, 3), 1))
        rows = net.emit(function(name)(op.mean(net.conv(x, 5), [3])))
        rows = op.mean(rows, [1], True)
        return net.head(op.multiply(net.conv(h, 6), op.expand_dims(rows, [-1])))

    return body


STATISTICS = ("sum", "mean", "max", "min", "prod", "std", "variance")

REDUCTION_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    **{
        f"relax.{name}": {
            "keepdims": reduction_graph(name, True),
            "flat": reduction_graph(name, False),
            "channels": over_channels(name),
            "channels_flat": flat_over_channels(name),
            **({"normalised": normalised} if name == "sum" else {}),
        }
        for name in STATISTICS
    },
    **{
        f"relax.nn.{name}": {
            "pixels": softmax(f"nn.{name}", -1),
            "channels": softmax(f"nn.{name}", 1),
        }
        for name in ("softmax", "log_softmax")
    },
    "relax.argmax": {"": selected_by("argmax")},
    "relax.argmin": {"": selected_by("argmin")},
    "relax.median": {"": median},
    "relax.cumsum": {"": ordered_by("cumsum"), "flat": scanned_flat},
    **{f"relax.{name}": {"": ordered_by(name)} for name in ("cumprod", "sort", "argsort")},
    "relax.topk": {kind: topk(kind) for kind in ("both", "values", "indices")},
    "relax.one_hot": {"last": one_hot(-1), "inner": one_hot(2)},
    **{f"relax.{name}": {"": triangle(name)} for name in ("tril", "triu")},
}
