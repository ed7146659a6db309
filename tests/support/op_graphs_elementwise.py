"""Networks for the rows of element-wise ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers
from tvm_prune.channels.ops.elementwise import BINARY, UNARY

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
    if name.startswith("bitwise"):
        return whole(left), whole(right)
    if name.endswith("shift"):
        return whole(left), whole(fraction(op.abs(right)))
    return left, right


def binary_graph(name: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        left, right = _operands(name, net.conv(x, 8, 3), net.conv(x, 8))
        h = net.emit(number(function(name)(left, right)))
        return net.head(net.conv(h, 6))

    return body


def dropout(net: Layers, x: Any) -> Any:
    h = net.emit(op.nn.dropout(net.conv(x, 8, 3), rate=0.5))
    return net.head(h[0])


def where(net: Layers, x: Any) -> Any:
    chooser = flag(net.conv(x, 8))
    return net.head(net.emit(op.where(chooser, net.conv(x, 8, 3), net.parameter((1, 8, 1, 1)))))


def masked_fill(net: Layers, x: Any) -> Any:
    """The channels of the filler follow those of the data."""
    h = net.conv(x, 8, 3)
    filler = op.full_like(h, scalar(0.5))
    return net.head(net.conv(net.emit(op.where(flag(h), h, filler)), 6))


def like_graph(name: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.conv(x, 8, 3)
        return net.head(net.conv(net.emit(op.add(h, net.emit(function(name)(h)))), 6))

    return body


def prelu(net: Layers, x: Any) -> Any:
    h = net.emit(op.nn.prelu(net.conv(x, 8, 3), net.parameter((8,))))
    h = net.emit(op.permute_dims(net.conv(h, 6), [0, 2, 3, 1]))
    h = net.emit(op.nn.prelu(h, net.parameter((6,)), axis=-1))
    return net.linear(op.mean(h, [1, 2]), 5)


def prelu_shared(net: Layers, x: Any) -> Any:
    """One slope serves all channels."""
    return net.head(net.emit(op.nn.prelu(net.conv(x, 8, 3), net.parameter((1,)))))


def quantize(net: Layers, x: Any) -> Any:
    """One scale and zero point a channel."""
    h = net.conv(x, 8, 3)
    scale, zero = (
        net.emit(op.multiply(net.parameter((8,)), scalar(0.02))),
        relax.const([0] * 8, "int8"),
    )
    h = net.emit(op.quantize(h, scale, zero, axis=1))
    return net.head(net.emit(op.dequantize(h, scale, zero, axis=1)))


def bucketize(net: Layers, x: Any) -> Any:
    bounds = relax.const([-1.0, -0.2, 0.3, 1.0], "float32")
    return net.head(number(net.emit(op.bucketize(net.conv(x, 8, 3), bounds))))


ELEMENTWISE_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    **{f"relax.{name}": {"": unary_graph(name)} for name in UNARY},
    **{f"relax.{name}": {"": binary_graph(name)} for name in BINARY},
    "relax.nn.dropout": {"": dropout},
    "relax.where": {"": where},
    "relax.full_like": {"": masked_fill},
    "relax.zeros_like": {"": like_graph("zeros_like")},
    "relax.ones_like": {"": like_graph("ones_like")},
    "relax.nn.prelu": {"": prelu, "shared": prelu_shared},
    "relax.quantize": {"": quantize},
    "relax.dequantize": {"": quantize},
    "relax.bucketize": {"": bucketize},
}
