"""Networks for the rows that make tensors from a shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers

op = relax.op


def filled(value: Any) -> Body:
    """Constant channels beside learnt ones, and added to them."""

    def body(net: Layers, x: Any) -> Any:
        h = net.emit(op.concat([net.conv(x, 5), net.emit(value((2, 3, 6, 6)))], axis=1))
        return net.head(net.conv(op.add(h, net.emit(value((8, 1, 6)))), 6, 3))

    return body


def counted(value: Any) -> Body:
    """Positions of pixels scale the channels."""

    def body(net: Layers, x: Any) -> Any:
        return net.head(net.conv(op.multiply(net.conv(x, 8, 3), net.emit(value())), 6))

    return body


CREATION_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    "relax.full": {"": filled(lambda shape: op.full(shape, relax.const(0.5), "float32"))},
    "relax.zeros": {"": filled(lambda shape: op.zeros(shape, "float32"))},
    "relax.ones": {"": filled(lambda shape: op.ones(shape, "float32"))},
    "relax.arange": {"": counted(lambda: op.arange(0, 6, 1, "float32"))},
    "relax.eye": {"": counted(lambda: op.eye(6, 6, 1, "float32"))},
    "relax.hamming_window": {"": counted(lambda: op.hamming_window(6, 1, 0.54, 0.46, "float32"))},
}
