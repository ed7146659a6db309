"""Grouped layers lose whole groups or equally many channels of each: the finer choice."""

from __future__ import annotations

from typing import Any

import pytest
from support.networks import Layers, build
from tvm import relax

from tvm_prune.channels import ChannelGroup, Channels, find_channels

op = relax.op

CHANNELS = 12


def grouped(groups: int, out: int) -> Channels:
    def body(net: Layers, x: Any) -> Any:
        return net.head(net.conv(net.conv(x, CHANNELS), out, 3, groups=groups))

    return find_channels(build(body))


def transposed(groups: int, out: int) -> Channels:
    def body(net: Layers, x: Any) -> Any:
        weight = net.parameter((CHANNELS, out // groups, 3, 3), "conv")
        return net.head(op.nn.conv2d_transpose(net.conv(x, CHANNELS), weight, groups=groups))

    return find_channels(build(body))


def units(group: ChannelGroup, parameter: str) -> list[int]:
    return next(part.units.tolist() for part in group.slices if part.parameter == parameter)


@pytest.mark.parametrize("layer", [grouped, transposed])
@pytest.mark.parametrize(
    ("groups", "out", "widths"),
    [
        (2, 12, [6, 6]),
        (3, 12, [4, 4]),
        (4, 12, [4]),
        (6, 12, [6]),
        (6, 30, [6]),
        (3, 36, [4, 12]),
        (6, 36, [6]),
        (12, 12, [12]),
        (12, 24, [12]),
        (12, 144, [12]),
    ],
)
def test_the_finer_choice_is_made(layer: Any, groups: int, out: int, widths: list[int]) -> None:
    found = layer(groups, out).groups
    assert [group.width for group in found] == widths


def test_a_whole_group_takes_its_inputs_and_outputs_along() -> None:
    (group,) = grouped(6, 12).groups
    assert units(group, "conv0") == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert units(group, "conv1") == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_whole_groups_leave_the_width_of_a_group_and_say_so() -> None:
    channels = grouped(6, 12)
    reasons = {(entry.parameter, entry.axis): entry.reason for entry in channels.frozen}
    assert reasons[("conv1", 1)].startswith("spans a group that goes as a whole")


@pytest.mark.parametrize(
    ("groups", "expected"), [(1, 12), (2, 6), (3, 4), (4, 4), (6, 6), (12, 12)]
)
def test_a_group_norm_keeps_groups_of_equal_width(groups: int, expected: int) -> None:
    def body(net: Layers, x: Any) -> Any:
        values = [net.parameter((CHANNELS,), kind) for kind in ("gamma", "beta")]
        return net.head(op.nn.group_norm(net.conv(x, CHANNELS), *values, groups, 1, [2, 3]))

    (group,) = find_channels(build(body)).groups
    assert group.width == expected


def test_packed_layouts_are_left_alone() -> None:
    def body(net: Layers, x: Any) -> Any:
        h = net.emit(op.reshape(net.conv(x, 8), (2, 2, 4, 6, 6)))
        h = net.emit(op.permute_dims(h, [0, 1, 3, 4, 2]))
        layouts = {"data_layout": "NCHW4c", "kernel_layout": "OIHW4i4o"}
        h = net.emit(op.nn.conv2d(h, net.parameter((2, 2, 1, 1, 4, 4)), **layouts))
        return net.linear(op.mean(h, [1, 2, 3]), 5)

    channels = find_channels(build(body))
    assert not channels.groups
    reasons = {entry.reason for entry in channels.frozen}
    assert any(reason.startswith("is in a packed layout") for reason in reasons)
