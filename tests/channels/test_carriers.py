"""Which axis keeps the channels where a reshape splits or merges axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.exactness import assert_exact
from support.networks import Body, Layers, build
from support.op_graphs_reshape import channel_shuffle, pixel_shuffle
from tvm import IRModule, relax

from tvm_prune.channels import find_channels

op = relax.op


def units_of(module: IRModule, parameter: str, axis: int) -> list[int]:
    """The unit of every position of a parameter axis, none where it stays."""
    for group in find_channels(module).groups:
        for part in group.slices:
            if (part.parameter, part.axis) == (parameter, axis):
                return [int(unit) for unit in part.units]
    return []


@pytest.mark.parametrize("inner", [1, 2, 3, 8])
def test_a_pixel_shuffle_loses_channels_and_no_pixels(inner: int) -> None:
    expected = np.repeat(range(inner), 4).tolist()
    assert units_of(build(pixel_shuffle(inner)), "conv0", 0) == (expected if inner > 1 else [])


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_a_channel_shuffle_loses_the_same_channel_of_every_longer_run(groups: int) -> None:
    module = build(channel_shuffle(groups))
    (units,) = (
        part.units
        for group in find_channels(module).groups
        for part in group.slices
        if part.parameter == "conv3" and part.axis == 1
    )
    assert np.unique(units).size > 1
    assert_exact(module)


def test_pixels_that_belong_to_the_input_do_not_hold_the_channels_they_are_merged_with() -> None:
    def body(net: Layers, x: Any) -> Any:
        pixels = net.emit(op.mean(x, [1], keepdims=True))
        h = net.emit(op.multiply(net.emit(op.sigmoid(pixels)), net.conv(x, 8)))
        return net.linear(op.reshape(h, (2, 8 * 36)), 5)

    assert units_of(build(body), "matmul1", 0) == np.repeat(range(8), 36).tolist()


def merged(first: Any, second: Any) -> Body:
    """Two axes of three and four positions become one, which scales the channels."""

    def body(net: Layers, x: Any) -> Any:
        outer = net.emit(op.multiply(first(net), second(net)))
        scale = op.reshape(outer, (1, 12, 1, 1))
        return net.head(net.emit(op.multiply(net.conv(x, 12), scale)))

    return body


def test_the_longer_of_two_merged_channel_axes_keeps_its_channels() -> None:
    body = merged(
        lambda net: net.parameter((3, 1), "gamma"), lambda net: net.parameter((1, 4), "gamma")
    )
    assert units_of(build(body), "conv2", 0) == list(range(4)) * 3


def test_an_axis_that_only_repeats_gives_way_to_a_shorter_one() -> None:
    body = merged(
        lambda net: net.parameter((3, 1), "gamma"),
        lambda net: net.emit(op.broadcast_to(net.parameter((1, 1), "gamma"), (3, 4))),
    )
    assert units_of(build(body), "conv2", 0) == np.repeat(range(3), 4).tolist()
    assert_exact(build(body))


def test_channels_that_a_window_slides_over_stay() -> None:
    def body(net: Layers, x: Any) -> Any:
        turned = net.emit(op.permute_dims(net.conv(x, 8), [0, 2, 1, 3]))
        return net.head(net.conv(turned, 6, 3))

    channels = find_channels(build(body))
    reasons = {(entry.parameter, entry.axis): entry.reason for entry in channels.frozen}
    assert reasons[("conv0", 0)] == "is covered by the window in nn.conv2d 'lv2'"
    assert [group.width for group in channels.groups] == [6]
