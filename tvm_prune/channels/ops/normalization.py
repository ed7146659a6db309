"""Normalisations: by stored statistics, or by the mean and variance of what they normalise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.channels.labels import TensorLabels
from tvm_prune.channels.ops.convolution import lose_whole_groups
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite, same_op

op = relax.op


def _axes(attrs: Any, rank: int) -> list[int]:
    return [int(axis) % rank for axis in attrs.axes]


def batch_norm(call: OpCall) -> tuple[TensorLabels, TensorLabels, TensorLabels]:
    """Scale, shift, mean and variance follow the channel axis."""
    data = call.tensor(0)
    channels = data[int(call.attrs.axis) % len(data)]
    for index in range(1, 5):
        call.tie(channels, call.tensor(index)[0])
    return data, call.tensor(3), call.tensor(4)


def instance_norm(call: OpCall) -> TensorLabels:
    """Scale and shift follow the channel axis.

    The axes that are normalised stay.
    """
    data, scale, shift = (call.tensor(index) for index in range(3))
    for axis in _axes(call.attrs, len(data)):
        call.freeze(data[axis], "is normalised")
    for values in (scale, shift):
        call.tie(data[int(call.attrs.channel_axis) % len(data)], values[0])
    return data


def norm_over_axes(call: OpCall) -> TensorLabels:
    """Scale and shift follow the axes that are normalised."""
    data = call.tensor(0)
    for values in call.inputs[1:]:
        for axis, labels in zip(_axes(call.attrs, len(data)), values, strict=True):
            call.tie(data[axis], labels)
    return data


def group_norm(call: OpCall) -> TensorLabels:
    """Scale and shift follow the channel axis.

    Whole groups go, or equally many channels of every group, whichever is the finer choice. The
    other axes that are normalised stay.
    """
    data, scale, shift = (call.tensor(index) for index in range(3))
    for axis in _axes(call.attrs, len(data)):
        call.freeze(data[axis], "is normalised together with channels")
    channels = data[int(call.attrs.channel_axis) % len(data)]
    for values in (scale, shift):
        call.tie(channels, values[0])
    table = channels.reshape(int(call.attrs.num_groups), -1)
    if not lose_whole_groups(*table.shape):
        table = table.T
    first, others = table[:, :1], table[:, 1:]
    call.tie(np.broadcast_to(first, others.shape).ravel(), others.ravel())
    return data


def _channels_and_width(rewrite: Rewrite) -> tuple[int, int]:
    """The channel axis of a group norm, and the number of channels in each group."""
    data: TensorLabels = rewrite.inputs[0]
    axis = int(rewrite.attrs.channel_axis) % len(data)
    return axis, data[axis].size // int(rewrite.attrs.num_groups)


def rewrite_group_norm(rewrite: Rewrite) -> Any:
    """The same group norm with the groups that are left."""
    attrs, groups = rewrite.attrs, int(rewrite.attrs.num_groups)
    axis, width = _channels_and_width(rewrite)
    if lose_whole_groups(groups, width):
        groups = rewrite.extent(rewrite.inputs[0][axis]) // width
    return op.nn.group_norm(
        *rewrite.arguments, groups, axis, attrs.axes, attrs.epsilon, attrs.center, attrs.scale
    )


def _mask_over(rewrite: Rewrite, axes: Sequence[int]) -> NDArray[np.bool_]:
    """Which positions along some axes stay; all other axes have extent 1."""
    data: TensorLabels = rewrite.inputs[0]
    shape = [labels.size if axis in axes else 1 for axis, labels in enumerate(data)]
    kept = np.ones(shape, dtype=bool)
    for axis in axes:
        along = [-1 if other == axis else 1 for other in range(len(data))]
        kept &= rewrite.mask(data[axis]).reshape(along)
    return kept


@dataclass(frozen=True)
class _Statistics:
    """Mean and deviation over some axes of a tensor, of kept positions only.

    Attributes:
        kept: which positions along the axes count; it broadcasts against the tensor.
        axes: the axes that are normalised.
        count: number of positions that enter each statistic.
        dtype: of the tensor.
    """

    kept: NDArray[np.bool_]
    axes: list[int]
    count: int
    dtype: str

    def mean(self, values: Any) -> Any:
        """Mean of the kept values, the axes left with extent 1."""
        kept = op.where(relax.const(self.kept), values, relax.const(0, self.dtype))
        return op.divide(op.sum(kept, self.axes, keepdims=True), self._number(self.count))

    def normalised(self, values: Any, epsilon: float) -> Any:
        """Values over their root mean square."""
        mean_square = op.add(self.mean(op.square(values)), self._number(epsilon))
        return op.divide(values, op.sqrt(mean_square))

    def centred(self, values: Any) -> Any:
        """Values minus their mean."""
        return op.subtract(values, self.mean(values))

    def _number(self, value: float) -> Any:
        return relax.const(value, self.dtype)


def _aligned(values: Any, axes: Sequence[int], rank: int) -> Any:
    """A scale or shift over some axes, with an axis of extent 1 for every other one."""
    shape = [1] * rank
    for axis, extent in zip(axes, values.ty.shape, strict=True):
        shape[axis] = int(extent)
    ascending = sorted(range(len(axes)), key=lambda index: axes[index])
    return op.reshape(op.permute_dims(values, ascending), shape)


def masked_layer_norm(rewrite: Rewrite) -> Any:
    """Mean and variance of kept positions."""
    return _masked_norm(rewrite, centred=True)


def masked_rms_norm(rewrite: Rewrite) -> Any:
    """Root mean square of kept positions."""
    return _masked_norm(rewrite, centred=False)


def _masked_norm(rewrite: Rewrite, centred: bool) -> Any:
    data, *scale_and_shift = rewrite.arguments
    rank = len(rewrite.inputs[0])
    axes = _axes(rewrite.attrs, rank)
    kept = _mask_over(rewrite, axes)
    if kept.all():
        return same_op(rewrite)
    statistics = _Statistics(kept, axes, int(kept.sum()), str(data.ty.dtype))
    values = statistics.centred(data) if centred else data
    result = statistics.normalised(values, rewrite.attrs.epsilon)
    for combine, factor in zip((op.multiply, op.add), scale_and_shift, strict=False):
        result = combine(result, _aligned(factor, axes, rank))
    return result


def masked_group_norm(rewrite: Rewrite) -> Any:
    """Mean and variance of the channels that stay in each group."""
    data, scale, shift = rewrite.arguments
    labels: TensorLabels = rewrite.inputs[0]
    groups = int(rewrite.attrs.num_groups)
    axis, width = _channels_and_width(rewrite)
    kept = rewrite.mask(labels[axis])
    if kept.all() or lose_whole_groups(groups, width):
        return same_op(rewrite)
    shape = [entry.size for entry in labels]
    split = [*shape[:axis], groups, width, *shape[axis + 1 :]]
    along = [width if index == axis + 1 else 1 for index in range(len(split))]
    others = [other + (other > axis) for other in _axes(rewrite.attrs, len(labels))]
    count = int(kept[:width].sum()) * math.prod(split[other] for other in others)
    statistics = _Statistics(
        kept[:width].reshape(along), [axis + 1, *others], count, str(data.ty.dtype)
    )
    values = statistics.centred(op.reshape(data, split))
    result = statistics.normalised(values, rewrite.attrs.epsilon)
    scaled = op.multiply(op.reshape(result, shape), _aligned(scale, [axis], len(shape)))
    return op.add(scaled, _aligned(shift, [axis], len(shape)))


NORMALIZATION: OpTable = {
    "relax.nn.batch_norm": OpRule(batch_norm),
    "relax.nn.instance_norm": OpRule(instance_norm),
    "relax.nn.layer_norm": OpRule(norm_over_axes, masked=masked_layer_norm),
    "relax.nn.rms_norm": OpRule(norm_over_axes, masked=masked_rms_norm),
    "relax.nn.group_norm": OpRule(group_norm, rewrite_group_norm, masked_group_norm),
}
