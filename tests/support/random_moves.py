"""Steps of random networks that choose, repeat, reverse or invent channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from tvm import relax

from .networks import Layers, shape_of
from .random_steps import Draw, Step

op = relax.op

SPREAD = 0.5
"""Keeps what is divided by a statistic from growing without bounds."""


def permuted(net: Layers, x: Any, draw: Draw) -> Any:
    """All channels in another order."""
    order = draw(st.permutations(range(shape_of(x)[1])))
    return net.emit(op.take(x, relax.const(np.array(order), "int64"), axis=1))


def chosen(net: Layers, x: Any, draw: Draw) -> Any:
    """Some channels by index, beside all of them."""
    order = draw(st.permutations(range(shape_of(x)[1])))
    some = np.array(order[: draw(st.integers(1, len(order)))])
    return net.emit(op.concat([net.emit(op.take(x, relax.const(some, "int64"), 1)), x], axis=1))


def flipped(net: Layers, x: Any, draw: Draw) -> Any:
    return net.emit(op.add(op.flip(x, axis=1), op.flip(x, axis=draw(st.sampled_from([1, 2, 3])))))


def every_other(net: Layers, x: Any, draw: Draw) -> Any:
    """Even channels, then odd ones in reverse order."""
    channels = shape_of(x)[1]
    last = channels - 1 - channels % 2
    even = op.strided_slice(x, [1], [0], [channels], [2])
    odd = op.strided_slice(x, [1], [last], [-channels - 1], [-2])
    return net.emit(op.concat([net.emit(even), net.emit(odd)], axis=1))


def repeated(net: Layers, x: Any, draw: Draw) -> Any:
    return net.emit(op.repeat(x, 2, axis=1)) if shape_of(x)[1] <= 8 else x


def tiled(net: Layers, x: Any, draw: Draw) -> Any:
    return net.emit(op.tile(x, (1, 2, 1, 1))) if shape_of(x)[1] <= 8 else x


def widened(net: Layers, x: Any, draw: Draw) -> Any:
    """A shortcut padded with zero channels around a wider layer."""
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    shortcut = op.nn.pad(x, (0, 0, before, after, 0, 0, 0, 0))
    return net.emit(op.add(net.conv(x, shape_of(x)[1] + before + after), net.emit(shortcut)))


def beside_constants(net: Layers, x: Any, draw: Draw) -> Any:
    batch, _, height, width = shape_of(x)
    filler = op.full((batch, draw(st.integers(1, 3)), height, width), relax.const(0.5), "float32")
    return net.emit(op.concat(draw(st.permutations([x, net.emit(filler)])), axis=1))


def upright(net: Layers, x: Any, draw: Draw) -> Any:
    """Resized to a fixed image, channels first or last."""
    if draw(st.booleans()):
        return net.emit(op.image.resize2d(x, (4, 6)))
    h = net.emit(op.image.resize2d(op.permute_dims(x, [0, 2, 3, 1]), (6, 4), layout="NHWC"))
    return net.emit(op.permute_dims(h, [0, 3, 1, 2]))


def sloped(net: Layers, x: Any, draw: Draw) -> Any:
    return net.emit(op.nn.prelu(x, net.parameter((shape_of(x)[1],))))


def against_statistic(net: Layers, x: Any, draw: Draw) -> Any:
    """Every channel minus half a statistic over channels, pixels or both."""
    statistic = draw(st.sampled_from([op.max, op.min, op.mean, op.std, op.variance]))
    axes = draw(st.sampled_from([[1], [1, 3], [1, 2, 3]]))
    found = net.emit(statistic(op.tanh(x), axes, True))
    return net.emit(op.subtract(op.tanh(x), op.multiply(found, relax.const(0.5))))


def standardised(net: Layers, x: Any, draw: Draw) -> Any:
    """A layer norm in its parts, added to what it normalises: a single channel would be zero."""
    mean = net.emit(op.mean(x, [1], keepdims=True))
    centred = net.emit(op.subtract(x, mean))
    variance = net.emit(op.mean(op.square(centred), [1], keepdims=True))
    normed = net.emit(op.divide(centred, op.sqrt(op.add(variance, relax.const(SPREAD)))))
    return net.emit(op.add(normed, x))


def strongest_map(net: Layers, x: Any, draw: Draw) -> Any:
    """A gate made of the mean and the maximum over channels."""
    mean, top = op.mean(x, [1], keepdims=True), op.max(x, [1], keepdims=True)
    gate = net.conv(net.emit(op.concat([net.emit(mean), net.emit(top)], axis=1)), 1, 3)
    return net.emit(op.multiply(x, op.sigmoid(gate)))


def padded_by_mirror(net: Layers, x: Any, draw: Draw) -> Any:
    mode = draw(st.sampled_from(["reflect", "replicate", "circular"]))
    return net.emit(op.nn.pad(x, (0, 0, 0, 0, 0, 1, 1, 0), mode))


CHANNEL_MOVES: tuple[Step, ...] = (
    permuted,
    chosen,
    flipped,
    every_other,
    repeated,
    tiled,
    widened,
    beside_constants,
    upright,
    sloped,
    against_statistic,
    standardised,
    strongest_map,
    padded_by_mirror,
)
"""Steps from an image to an image."""
