"""Groups of networks whose channels can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from support.accounting import assert_every_axis_accounted_for
from support.networks import Layers, build, shape_of
from support.random_networks import networks
from tvm import IRModule, relax, topi

from tvm_prune.channels import Barrier, ChannelGroup, Channels, find_channels
from tvm_prune.errors import ModelError

op = relax.op


def slices_of(group: ChannelGroup) -> dict[tuple[str, int], list[int]]:
    return {(part.parameter, part.axis): part.positions.tolist() for part in group.slices}


def reasons(channels: Channels) -> dict[tuple[str, int], str]:
    return {(entry.parameter, entry.axis): entry.reason for entry in channels.frozen}


def residual_block(net: Layers, x: Any) -> Any:
    stem = net.block(x, 8, 3)  # conv0 bias1
    inner = net.block(net.block(stem, 4), 6, 3)  # conv2 bias3 conv4 bias5
    out = op.add(net.conv(inner, 8), stem)  # conv6
    return net.head(net.emit(out))  # matmul7


def test_a_residual_block_has_one_trunk_and_two_inner_groups() -> None:
    groups = find_channels(build(residual_block)).groups
    assert [(group.name, group.width) for group in groups] == [
        ("conv0", 8),
        ("conv2", 4),
        ("conv4", 6),
    ]
    trunk, first, second = (set(slices_of(group)) for group in groups)
    assert trunk == {("conv0", 0), ("bias1", 1), ("conv2", 1), ("conv6", 0), ("matmul7", 0)}
    assert first == {("conv2", 0), ("bias3", 1), ("conv4", 1)}
    assert second == {("conv4", 0), ("bias5", 1), ("conv6", 1)}


def test_frozen_axes_say_what_keeps_them() -> None:
    found = reasons(find_channels(build(residual_block)))
    assert found == {("conv0", 1): "belongs to the input 'x'", ("matmul7", 1): "is a model output"}


def test_concatenated_channels_land_side_by_side() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.head(net.emit(op.concat([net.conv(x, 4), net.conv(x, 6)], axis=1)))

    first, second = find_channels(build(body)).groups
    assert slices_of(first) == {("conv0", 0): [0, 1, 2, 3], ("matmul2", 0): [0, 1, 2, 3]}
    assert slices_of(second)[("matmul2", 0)] == [4, 5, 6, 7, 8, 9]


def test_flattening_gives_every_channel_its_pixels() -> None:
    def body(net: Layers, x: Any) -> Any:
        h = op.nn.adaptive_avg_pool2d(net.conv(x, 3), output_size=(2, 2))
        return net.linear(op.reshape(h, (2, 12)), 5)

    (group,) = find_channels(build(body)).groups
    entry = next(part for part in group.slices if part.parameter == "matmul1")
    assert entry.units.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_depthwise_multiplier_removes_both_outputs_of_an_input() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.head(net.conv(net.conv(x, 4), 8, 3, groups=4))

    (group,) = find_channels(build(body)).groups
    assert group.width == 4
    entry = next(part for part in group.slices if part.parameter == "conv1")
    assert entry.units.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_grouped_convolution_takes_a_unit_out_of_every_group() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.head(net.conv(net.conv(x, 8), 12, 3, groups=2))

    inputs, outputs = find_channels(build(body)).groups
    assert (inputs.width, outputs.width) == (4, 6)
    assert inputs.slices[0].units.tolist() == [0, 1, 2, 3] * 2
    assert outputs.slices[0].units.tolist() == [0, 1, 2, 3, 4, 5] * 2


def test_channel_shuffle_is_a_permutation() -> None:
    def body(net: Layers, x: Any) -> Any:
        h = op.reshape(net.conv(x, 6), (2, 2, 3, 6, 6))
        h = op.reshape(op.permute_dims(h, [0, 2, 1, 3, 4]), (2, 6, 6, 6))
        return net.head(net.emit(h))

    (group,) = find_channels(build(body)).groups
    by_parameter = {part.parameter: part.units.tolist() for part in group.slices}
    assert by_parameter == {"conv0": [0, 1, 2, 0, 1, 2], "matmul1": [0, 0, 1, 1, 2, 2]}


def test_broadcasting_an_axis_of_extent_one_ties_nothing() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.head(net.emit(op.multiply(net.conv(x, 8), net.conv(x, 1))))

    (group,) = find_channels(build(body)).groups
    assert set(slices_of(group)) == {("conv0", 0), ("matmul2", 0)}


def lookup(h: Any) -> Any:
    return op.take(h, relax.const([0, 1, 1, 2], "int64"), axis=1)


FREEZERS: dict[str, tuple[Any, str]] = {
    "argmax": (
        lambda h: op.astype(op.argmax(h, 1, keepdims=True), "float32"),
        "is selected from by position in argmax",
    ),
    "sort": (lambda h: op.sort(h, axis=1), "is scanned in order in sort"),
    "cumsum": (lambda h: op.cumsum(h, axis=1), "is scanned in order in cumsum"),
    "lookup": (lookup, "is looked up by index in take"),
    "reflect": (
        lambda h: op.nn.pad(h, (0, 0, 1, 1, 0, 0, 0, 0), "reflect"),
        "is padded with its own values in nn.pad",
    ),
    "barrier": (op.grad.no_grad, "meets the barrier relax.grad.no_grad"),
}


STATISTICS: dict[str, Any] = {
    "softmax": lambda h: op.nn.softmax(h, axis=1),
    "log_softmax": lambda h: op.nn.log_softmax(h, axis=1),
    "mean": lambda h: op.add(h, op.mean(h, [1], keepdims=True)),
    "max": lambda h: op.add(h, op.max(h, None, keepdims=True)),
}


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS)
def test_statistics_over_channels_freeze_nothing(statistic: Any) -> None:
    def body(net: Layers, x: Any) -> Any:
        h = net.emit(statistic(net.emit(op.negative(net.conv(x, 8)))))
        return net.head(net.conv(h, 4))

    assert [group.width for group in find_channels(build(body)).groups] == [8, 4]


def test_padded_channels_are_those_of_the_wider_branch() -> None:
    def body(net: Layers, x: Any) -> Any:
        h = net.conv(x, 4)
        shortcut = op.nn.pad(h, (0, 0, 1, 2, 0, 0, 0, 0))
        return net.head(net.emit(op.add(net.conv(h, 7), shortcut)))

    alone, shared = find_channels(build(body)).groups[::-1]
    assert slices_of(shared)[("conv1", 0)] == [1, 2, 3, 4]
    assert slices_of(alone)[("conv1", 0)] == [0, 5, 6]


def test_taken_channels_keep_their_labels() -> None:
    def body(net: Layers, x: Any) -> Any:
        order = relax.const([2, 0, 3, 1], "int64")
        return net.head(net.emit(op.take(net.conv(x, 4), order, axis=1)))

    (group,) = find_channels(build(body)).groups
    by_parameter = {part.parameter: part.units.tolist() for part in group.slices}
    assert by_parameter == {"conv0": [0, 1, 2, 3], "matmul1": [2, 0, 3, 1]}


@pytest.mark.parametrize(("freezer", "reason"), FREEZERS.values(), ids=FREEZERS)
def test_ops_that_depend_on_the_position_of_channels_freeze_them(freezer: Any, reason: str) -> None:
    def body(net: Layers, x: Any) -> Any:
        found = net.emit(freezer(net.conv(x, 8)))
        return relax.Tuple([found, net.head(net.conv(net.conv(x, 6), 4))])

    channels = find_channels(build(body))
    assert reasons(channels)[("conv0", 0)].startswith(reason)
    assert [group.width for group in channels.groups] == [6, 4]


def test_a_gate_of_one_channel_is_frozen_with_its_reason() -> None:
    def body(net: Layers, x: Any) -> Any:
        parts = net.emit(op.split(net.conv(x, 9), [1], axis=1))
        return net.head(net.emit(op.multiply(parts[1], parts[0])))

    channels = find_channels(build(body))
    (group,) = channels.groups
    assert slices_of(group)[("conv0", 0)] == list(range(1, 9))
    assert reasons(channels)[("conv0", 0)].startswith("is one channel that stretches over many")


def test_barriers_are_counted_by_name_and_freeze_what_they_touch() -> None:
    def body(net: Layers, x: Any) -> Any:
        first = net.emit(op.grad.no_grad(net.conv(x, 8)))
        second = net.emit(op.grad.no_grad(net.conv(first, 6)))
        cut = net.emit(op.collapse_sum_to(net.conv(second, 4), (1, 4, 6, 6)))
        return net.head(net.conv(net.conv(cut, 7), 5))

    channels = find_channels(build(body))
    assert channels.labelling.barriers == (
        Barrier("relax.grad.no_grad", 2),
        Barrier("relax.collapse_sum_to", 1),
    )
    assert [group.width for group in channels.groups] == [7, 5]
    found = reasons(channels)
    assert found[("conv0", 0)] == "meets the barrier relax.grad.no_grad"
    assert found[("conv2", 0)] == "meets the barrier relax.collapse_sum_to"


def test_a_shape_that_depends_on_data_is_named() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.emit(op.nonzero(net.conv(x, 8)))

    with pytest.raises(ModelError, match=r"shape of what relax\.nonzero computes depends on"):
        find_channels(build(body))


def test_a_function_called_through_call_tir_is_a_barrier_with_its_name() -> None:
    def body(net: Layers, x: Any) -> Any:
        h = net.builder.emit_te(topi.nn.relu, net.conv(x, 8), primfunc_name_hint="my_kernel")
        return net.head(h)

    channels = find_channels(build(body))
    assert channels.labelling.barriers == (Barrier("call_tir(my_kernel)", 1),)
    assert not channels.groups


@given(networks())
def test_every_parameter_axis_is_in_a_group_or_frozen(module: IRModule) -> None:
    assert_every_axis_accounted_for(find_channels(module))


@given(networks())
def test_units_of_a_group_take_equally_much_of_every_parameter(module: IRModule) -> None:
    channels = find_channels(module)
    for group in channels.groups:
        for part in group.slices:
            counts = np.bincount(part.units, minlength=group.width)
            assert (counts == counts[0]).all(), (group.name, part.parameter)


@given(networks())
def test_labelling_twice_gives_the_same_groups(module: IRModule) -> None:
    first, second = find_channels(module), find_channels(module)
    assert [slices_of(group) for group in first.groups] == [
        slices_of(group) for group in second.groups
    ]


def test_shapes_of_parameters_are_those_of_the_function() -> None:
    module = build(residual_block)
    parameters = find_channels(module).labelling.parameters
    for variable in module["main"].params[1:]:
        assert tuple(axis.size for axis in parameters[variable.name]) == shape_of(variable)
