"""Random convolutional networks for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tvm import IRModule, relax

from .networks import Layers, bent, build, shape_of
from .random_moves import CHANNEL_MOVES
from .random_steps import ACROSS_CHANNELS, Draw, Step

op = relax.op

WIDTHS = st.sampled_from([3, 4, 5, 6, 8, 12])
KERNELS = st.sampled_from([1, 3])
ACTIVATIONS = (bent, op.sigmoid, op.tanh, op.nn.silu, op.nn.gelu, op.exp, op.cos)
MAX_CHANNELS = 24


def channels_of(x: Any) -> int:
    return shape_of(x)[1]


def divisors(number: int) -> list[int]:
    return [value for value in range(2, number + 1) if number % value == 0]


def conv(net: Layers, x: Any, draw: Draw) -> Any:
    return net.conv(x, draw(WIDTHS), draw(KERNELS))


def biased(net: Layers, x: Any, draw: Draw) -> Any:
    return net.bias(x)


def activation(net: Layers, x: Any, draw: Draw) -> Any:
    return net.emit(draw(st.sampled_from(ACTIVATIONS))(op.clip(x, -3.0, 3.0)))


def batch_norm(net: Layers, x: Any, draw: Draw) -> Any:
    return net.batch_norm(x)


def depthwise(net: Layers, x: Any, draw: Draw) -> Any:
    multiplier = draw(st.sampled_from([1, 2])) if channels_of(x) <= MAX_CHANNELS // 2 else 1
    channels = channels_of(x)
    return net.conv(x, channels * multiplier, 3, groups=channels)


def grouped(net: Layers, x: Any, draw: Draw) -> Any:
    groups = draw(st.sampled_from(divisors(channels_of(x))))
    return net.conv(x, groups * draw(st.sampled_from([1, 2, 5])), draw(KERNELS), groups=groups)


def residual(net: Layers, x: Any, draw: Draw) -> Any:
    inner = net.block(x, draw(WIDTHS), draw(KERNELS))
    return net.emit(op.add(x, net.conv(inner, channels_of(x), draw(KERNELS))))


def dense_block(net: Layers, x: Any, draw: Draw) -> Any:
    grown = net.block(x, draw(WIDTHS), draw(KERNELS))
    parts = draw(st.permutations([x, grown]))
    return net.emit(op.concat(parts, axis=1))


def doubled(net: Layers, x: Any, draw: Draw) -> Any:
    """The same channels twice."""
    return net.emit(op.concat([x, op.negative(x)], axis=1))


def split(net: Layers, x: Any, draw: Draw) -> Any:
    """One section goes through a block, the others past it, and they change places."""
    first = draw(st.integers(1, channels_of(x) - 1))
    parts = net.emit(op.split(x, [first], axis=1))
    worked = net.block(parts[0], draw(WIDTHS), draw(KERNELS))
    return net.emit(op.concat(draw(st.permutations([worked, parts[1]])), axis=1))


def gated(net: Layers, x: Any, draw: Draw) -> Any:
    if channels_of(x) % 2:
        return x
    halves = net.emit(op.split(x, 2, axis=1))
    return net.emit(op.multiply(halves[0], op.sigmoid(halves[1])))


def sliced(net: Layers, x: Any, draw: Draw) -> Any:
    begin = draw(st.integers(0, channels_of(x) - 2))
    return net.emit(op.strided_slice(x, [1], [begin], [draw(st.integers(begin + 2, 30))]))


def squeeze_excite(net: Layers, x: Any, draw: Draw) -> Any:
    pooled = net.emit(op.mean(x, [2, 3], keepdims=True))
    gate = net.conv(net.block(pooled, draw(WIDTHS)), channels_of(x))
    return net.emit(op.multiply(x, op.sigmoid(gate)))


def shuffle(net: Layers, x: Any, draw: Draw) -> Any:
    batch, channels, height, width = shape_of(x)
    groups = draw(st.sampled_from(divisors(channels)))
    h = op.reshape(x, (batch, groups, channels // groups, height, width))
    h = op.permute_dims(h, [0, 2, 1, 3, 4])
    return net.emit(op.reshape(h, (batch, channels, height, width)))


def spatial_gate(net: Layers, x: Any, draw: Draw) -> Any:
    """One map multiplies all channels."""
    return net.emit(op.multiply(x, op.sigmoid(net.conv(x, 1))))


def stacked(net: Layers, x: Any, draw: Draw) -> Any:
    axis = draw(st.integers(0, 4))
    pair = op.stack([x, net.conv(x, channels_of(x))], axis=axis)
    return net.emit(op.sum(pair, [axis]))


def pool(net: Layers, x: Any, draw: Draw) -> Any:
    if shape_of(x)[2] < 2:
        return x
    kind = draw(st.sampled_from([op.nn.max_pool2d, op.nn.avg_pool2d]))
    return net.emit(kind(x, pool_size=(2, 2), strides=(2, 2)))


def padded(net: Layers, x: Any, draw: Draw) -> Any:
    return net.emit(op.nn.pad(x, (0, 0, 0, 0, 1, 0, 0, 1)))


STEPS: tuple[Step, ...] = (
    conv,
    biased,
    activation,
    batch_norm,
    depthwise,
    grouped,
    residual,
    dense_block,
    doubled,
    split,
    gated,
    sliced,
    squeeze_excite,
    shuffle,
    spatial_gate,
    stacked,
    pool,
    padded,
    *ACROSS_CHANNELS,
    *CHANNEL_MOVES,
)


def pooled_head(net: Layers, x: Any, draw: Draw) -> Any:
    return net.head(x)


def flat_head(net: Layers, x: Any, draw: Draw) -> Any:
    h = net.emit(op.nn.adaptive_avg_pool2d(x, output_size=(2, 2)))
    return net.linear(op.reshape(h, (shape_of(x)[0], 4 * channels_of(x))), 5)


def token_head(net: Layers, x: Any, draw: Draw) -> Any:
    """Channels last, a hidden linear layer, the mean over the pixels."""
    batch, channels, height, width = shape_of(x)
    h = op.permute_dims(op.reshape(x, (batch, channels, height * width)), [0, 2, 1])
    return net.linear(op.mean(bent(net.linear(h, draw(WIDTHS))), [1]), 5)


HEADS: tuple[Step, ...] = (pooled_head, flat_head, token_head)


@st.composite
def networks(draw: Draw, max_steps: int = 5) -> IRModule:
    """A stem, some random steps and a head that contracts the channels."""
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=max_steps))
    head = draw(st.sampled_from(HEADS))

    def body(net: Layers, x: Any) -> Any:
        h = net.block(x, draw(WIDTHS), 3)
        for step in steps:
            if 2 <= channels_of(h) <= MAX_CHANNELS:
                h = step(net, h, draw)
        return head(net, h, draw)

    return build(body)
