"""Networks for the rows of normalisations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from support.networks import Body, Layers, bent

op = relax.op


def batch_norm(net: Layers, x: Any) -> Any:
    h = op.nn.relu(net.batch_norm(net.conv(x, 8, 3)))
    h = op.permute_dims(net.conv(h, 6), [0, 2, 3, 1])
    h = net.batch_norm(h, axis=3)
    return net.linear(op.mean(h, [1, 2]), 5)


def never_zero(x: Any) -> Any:
    """Values in (1/e, e): a removed channel would count in any statistic."""
    return op.exp(op.tanh(x))


def channels_last(net: Layers, x: Any, channels: int = 8) -> Any:
    return net.emit(op.permute_dims(net.conv(x, channels), [0, 2, 3, 1]))


def scale_and_shift(net: Layers, *shape: int) -> tuple[Any, Any]:
    return net.parameter(shape, "gamma"), net.parameter(shape, "beta")


def layer_norm(net: Layers, x: Any) -> Any:
    h = net.emit(never_zero(channels_last(net, x)))
    h = op.nn.layer_norm(h, *scale_and_shift(net, 8), axes=[-1])
    return net.linear(op.mean(bent(net.linear(bent(h), 6)), [1, 2]), 5)


def layer_norm_of_all(net: Layers, x: Any) -> Any:
    """Channels and pixels are normalised together, each with its own scale."""
    h = net.emit(never_zero(net.conv(x, 8)))
    h = op.nn.layer_norm(h, *scale_and_shift(net, 8, 6, 6), axes=[1, 2, 3])
    return net.head(net.conv(net.emit(h), 6))


def layer_norm_of_two(net: Layers, x: Any) -> Any:
    """The last two axes of three that are left, one of them of channels."""
    h = net.emit(op.mean(never_zero(channels_last(net, x)), [1]))
    h = op.nn.layer_norm(h, *scale_and_shift(net, 6, 8), axes=[-2, -1])
    return net.linear(op.mean(net.emit(h), [1]), 5)


def rms_norm(net: Layers, x: Any) -> Any:
    h = net.emit(never_zero(channels_last(net, x)))
    h = op.nn.rms_norm(h, net.parameter((8,), "gamma"), axes=[-1])
    return net.linear(op.mean(bent(net.linear(bent(h), 6)), [1, 2]), 5)


def group_norm(groups: int) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.emit(never_zero(net.conv(x, 12)))
        h = op.nn.group_norm(h, *scale_and_shift(net, 12), groups, 1, [2, 3])
        return net.head(net.conv(bent(h), 6))

    return body


def group_norm_last(net: Layers, x: Any) -> Any:
    """Channels last."""
    h = net.emit(never_zero(channels_last(net, x, 12)))
    h = op.nn.group_norm(h, *scale_and_shift(net, 12), 2, 3, [1, 2])
    return net.linear(op.mean(net.emit(bent(h)), [1, 2]), 5)


def group_norm_after_grouped(net: Layers, x: Any) -> Any:
    """Groups of a convolution and of a norm cut the same channels differently."""
    h = net.emit(never_zero(net.conv(net.conv(x, 12), 12, groups=2)))
    h = op.nn.group_norm(h, *scale_and_shift(net, 12), 3, 1, [2, 3])
    return net.head(net.conv(bent(h), 6))


def instance_norm(net: Layers, x: Any) -> Any:
    h = op.nn.instance_norm(net.conv(x, 8), *scale_and_shift(net, 8), 1, [2, 3])
    weighted = op.multiply(bent(h), op.sigmoid(net.conv(x, 8)))
    return net.head(net.conv(weighted, 6))


NORMALIZATION_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    "relax.nn.batch_norm": {"": batch_norm},
    "relax.nn.layer_norm": {
        "": layer_norm,
        "all": layer_norm_of_all,
        "two": layer_norm_of_two,
    },
    "relax.nn.rms_norm": {"": rms_norm},
    "relax.nn.group_norm": {
        "two": group_norm(2),
        "six": group_norm(6),
        "twelve": group_norm(12),
        "one": group_norm(1),
        "last": group_norm_last,
        "after_grouped": group_norm_after_grouped,
    },
    "relax.nn.instance_norm": {"": instance_norm},
}
