"""Steps of random networks that look across channels, or lay them out anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from tvm import relax

from .attention_networks import apart, joined, scores_and_values, take
from .networks import Layers, bent, shape_of

op = relax.op
Draw = Callable[[Any], Any]
Step = Callable[[Layers, Any, Draw], Any]

EPSILON = 0.1
"""Large, or norms of nearly equal values would amplify rounding errors."""

SMALL = st.integers(2, 4)
CHANNELS_LAST = [0, 2, 3, 1]
CHANNELS_FIRST = [0, 3, 1, 2]


def divisors(number: int) -> list[int]:
    return [value for value in range(1, number + 1) if number % value == 0]


def scale_and_shift(net: Layers, channels: int) -> tuple[Any, Any]:
    return net.parameter((channels,), "gamma"), net.parameter((channels,), "beta")


def layer_norm(net: Layers, x: Any, draw: Draw) -> Any:
    h = net.emit(op.permute_dims(x, CHANNELS_LAST))
    values = scale_and_shift(net, shape_of(x)[1])
    h = net.emit(op.nn.layer_norm(h, *values, axes=[-1], epsilon=EPSILON))
    return net.emit(op.permute_dims(h, CHANNELS_FIRST))


def rms_norm(net: Layers, x: Any, draw: Draw) -> Any:
    h = net.emit(op.permute_dims(x, CHANNELS_LAST))
    scale = net.parameter((shape_of(x)[1],), "gamma")
    h = net.emit(op.nn.rms_norm(h, scale, axes=[-1], epsilon=EPSILON))
    return net.emit(op.permute_dims(h, CHANNELS_FIRST))


def group_norm(net: Layers, x: Any, draw: Draw) -> Any:
    channels = shape_of(x)[1]
    groups = draw(st.sampled_from(divisors(channels)))
    values = scale_and_shift(net, channels)
    return net.emit(bent(op.nn.group_norm(x, *values, groups, 1, [2, 3], EPSILON)))


def instance_norm(net: Layers, x: Any, draw: Draw) -> Any:
    """Bent, or the mean over the pixels would forget the input."""
    values = scale_and_shift(net, shape_of(x)[1])
    return net.emit(bent(op.nn.instance_norm(x, *values, 1, [2, 3], EPSILON)))


def channel_softmax(net: Layers, x: Any, draw: Draw) -> Any:
    weights = net.emit(op.nn.softmax(x, axis=1))
    return net.emit(op.multiply(x, weights))


def unit_length(net: Layers, x: Any, draw: Draw) -> Any:
    """Every pixel's channels divided by their length."""
    square = net.emit(op.sum(op.multiply(x, x), [1], keepdims=True))
    return net.emit(op.divide(x, op.sqrt(op.add(square, relax.const(EPSILON, "float32")))))


def response_norm(net: Layers, x: Any, draw: Draw) -> Any:
    """Every channel weighed by its share in the mean response."""
    strength = net.emit(op.mean(op.abs(x), [2, 3], keepdims=True))
    mean = net.emit(op.add(op.mean(strength, [1], keepdims=True), relax.const(EPSILON, "float32")))
    return net.emit(op.multiply(x, op.divide(strength, mean)))


def upsample(net: Layers, x: Any, draw: Draw) -> Any:
    channels = shape_of(x)[1]
    groups = draw(st.sampled_from(divisors(channels)))
    weight = net.parameter((channels, draw(st.sampled_from([1, 2])), 2, 2), "conv")
    if shape_of(x)[2] > 6:
        return x
    return net.emit(op.nn.conv2d_transpose(x, weight, strides=(2, 2), groups=groups))


def mixed_by_einsum(net: Layers, x: Any, draw: Draw) -> Any:
    weight = net.parameter((draw(st.integers(3, 8)), shape_of(x)[1]))
    return net.emit(op.einsum([x, weight], "bchw,oc->bohw"))


def block_diagonal(net: Layers, x: Any, draw: Draw) -> Any:
    """A linear layer in each of some groups of channels."""
    batch, channels, height, width = shape_of(x)
    groups = draw(st.sampled_from(divisors(channels)))
    out = draw(SMALL)
    weight = net.parameter((groups, out, channels // groups))
    h = op.reshape(x, (batch, groups, channels // groups, height * width))
    h = net.emit(op.matmul(weight, net.emit(h)))
    return net.emit(op.reshape(h, (batch, groups * out, height, width)))


def pixel_shuffle(net: Layers, x: Any, draw: Draw) -> Any:
    batch, channels, height, width = shape_of(x)
    if channels % 4 or height > 6:
        return x
    h = op.reshape(x, (batch, channels // 4, 2, 2, height, width))
    h = op.permute_dims(h, [0, 1, 4, 2, 5, 3])
    return net.emit(op.reshape(h, (batch, channels // 4, 2 * height, 2 * width)))


def pixel_unshuffle(net: Layers, x: Any, draw: Draw) -> Any:
    batch, channels, height, width = shape_of(x)
    if height % 2 or width % 2:
        return x
    h = op.reshape(x, (batch, channels, height // 2, 2, width // 2, 2))
    h = op.permute_dims(h, draw(st.sampled_from([[0, 1, 3, 5, 2, 4], [0, 3, 5, 1, 2, 4]])))
    return net.emit(op.reshape(h, (batch, 4 * channels, height // 2, width // 2)))


def tokens_of(net: Layers, x: Any) -> Any:
    batch, channels, height, width = shape_of(x)
    h = op.reshape(x, (batch, channels, height * width))
    return net.emit(op.permute_dims(h, [0, 2, 1]))


def image_of(net: Layers, h: Any, height: int, width: int) -> Any:
    batch, _, channels = shape_of(h)
    h = op.permute_dims(h, [0, 2, 1])
    return net.emit(op.reshape(h, (batch, channels, height, width)))


def attention(net: Layers, x: Any, draw: Draw) -> Any:
    """Every pixel attends to every other, with the residual around it."""
    batch, channels, height, width = shape_of(x)
    h = tokens_of(net, x)
    heads, dimensions = draw(SMALL), draw(SMALL)
    if draw(st.booleans()):
        shape = (batch, height * width, 3, heads, dimensions)
        joint = net.emit(op.reshape(net.linear(h, 3 * heads * dimensions), shape))
        joint = net.emit(op.permute_dims(joint, [2, 0, 3, 1, 4]))
        query, key, value = (net.emit(take(joint, index)) for index in range(3))
    else:
        query, key, value = (apart(net, net.linear(h, heads * dimensions), heads) for _ in range(3))
    h = net.linear(joined(net, scores_and_values(net, query, key, value)), channels)
    return net.emit(op.add(x, image_of(net, h, height, width)))


def channel_attention(net: Layers, x: Any, draw: Draw) -> Any:
    """Channels attend to channels; what is compared is never zero."""
    _, channels, height, width = shape_of(x)
    h = tokens_of(net, x)
    left, right = (net.emit(op.exp(op.tanh(net.linear(h, channels)))) for _ in range(2))
    scores = net.emit(op.matmul(net.emit(op.permute_dims(left, [0, 2, 1])), right))
    weights = net.emit(op.nn.softmax(op.multiply(scores, relax.const(0.1, "float32"))))
    return image_of(net, net.emit(op.matmul(h, weights)), height, width)


def windows(net: Layers, x: Any, draw: Draw) -> Any:
    """A linear layer in windows that are cut out and put together again."""
    batch, channels, height, width = shape_of(x)
    if height % 2 or width % 3:
        return x
    h = op.reshape(x, (batch, channels, height // 2, 2, width // 3, 3))
    h = op.permute_dims(h, [0, 2, 4, 3, 5, 1])
    h = net.emit(op.reshape(h, (batch * height * width // 6, 6, channels)))
    h = bent(op.add(net.linear(h, channels), net.parameter((channels,), "bias")))
    h = op.reshape(h, (batch, height // 2, width // 3, 2, 3, channels))
    h = op.permute_dims(h, [0, 5, 1, 3, 2, 4])
    return net.emit(op.reshape(h, (batch, channels, height, width)))


ACROSS_CHANNELS: tuple[Step, ...] = (
    layer_norm,
    rms_norm,
    group_norm,
    instance_norm,
    channel_softmax,
    unit_length,
    response_norm,
    upsample,
    mixed_by_einsum,
    block_diagonal,
    pixel_shuffle,
    pixel_unshuffle,
    attention,
    channel_attention,
    windows,
)
"""Steps from an image to an image; some leave it as it is where its shape does not fit."""
