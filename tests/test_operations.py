"""Multiply-accumulates are those of the textbook."""

from __future__ import annotations

from typing import Any

import pytest
from support.networks import Body, Layers, build
from tvm import relax

from tvm_prune.operations import multiply_accumulates

op = relax.op
# The image of these networks is (2, 3, 6, 6).


def conv(net: Layers, x: Any) -> Any:
    return net.conv(x, 8, 3)


def strided(net: Layers, x: Any) -> Any:
    return net.conv(x, 8, 3, strides=2)


def depthwise(net: Layers, x: Any) -> Any:
    return net.conv(x, 6, 3, groups=3)


def nhwc(net: Layers, x: Any) -> Any:
    x = net.emit(op.permute_dims(x, [0, 2, 3, 1]))
    weight = net.parameter((3, 3, 3, 8))
    return net.emit(op.nn.conv2d(x, weight, padding=1, data_layout="NHWC", kernel_layout="HWIO"))


def transposed(net: Layers, x: Any) -> Any:
    return net.emit(op.nn.conv2d_transpose(x, net.parameter((3, 8, 2, 2)), strides=2))


def matmul(net: Layers, x: Any) -> Any:
    rows = net.emit(op.reshape(x, (2, 18, 6)))
    return net.emit(op.matmul(rows, net.parameter((6, 5))))


def einsum(net: Layers, x: Any) -> Any:
    return net.emit(op.einsum((x, net.parameter((3, 4))), "nchw,cd->ndhw"))


def attention(net: Layers, x: Any) -> Any:
    tokens = net.emit(op.reshape(x, (2, 18, 2, 3)))
    return net.emit(op.nn.attention(tokens, tokens, tokens))


def pointwise(net: Layers, x: Any) -> Any:
    return net.emit(op.nn.relu(op.add(x, x)))


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (conv, 2 * 36 * 8 * 3 * 9),
        (strided, 2 * 9 * 8 * 3 * 9),
        (depthwise, 2 * 36 * 6 * 9),
        (nhwc, 2 * 36 * 8 * 3 * 9),
        (transposed, 2 * 36 * 3 * 8 * 4),
        (matmul, 2 * 18 * 6 * 5),
        (einsum, 2 * 36 * 3 * 4),
        (attention, 2 * 2 * 18 * 18 * 3 * 2),
        (pointwise, 0),
    ],
)
def test_products_are_counted(body: Body, count: int) -> None:
    assert multiply_accumulates(build(body)) == count
