"""Ops that move positions without computing: reshape, transpose, concatenate, split, pad."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tvm import relax

from tvm_prune.channels.labels import NEUTRAL, AxisLabels, TensorLabels, frozen_axis, is_prunable
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite, same_op


def _shape(expr: Any) -> list[int]:
    return [int(extent) for extent in expr.ty.shape.values]


def _matching_runs(
    before: Sequence[int], after: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Smallest runs of axes with equal products; axes of extent 1 belong to none."""
    old = [axis for axis, extent in enumerate(before) if extent != 1]
    new = [axis for axis, extent in enumerate(after) if extent != 1]
    while old or new:
        old_run, new_run = [old.pop(0)], [new.pop(0)]
        old_size, new_size = before[old_run[0]], after[new_run[0]]
        while old_size != new_size:
            if old_size < new_size:
                old_run.append(old.pop(0))
                old_size *= before[old_run[-1]]
            else:
                new_run.append(new.pop(0))
                new_size *= after[new_run[-1]]
        yield old_run, new_run


def _merge(call: OpCall, axes: Sequence[AxisLabels]) -> AxisLabels:
    """Labels of several axes flattened into one: the one channel axis, repeated."""
    channel_axes = [index for index, axis in enumerate(axes) if is_prunable(axis)]
    if not channel_axes:
        return frozen_axis(math.prod(axis.size for axis in axes))
    chosen = max(channel_axes, key=lambda index: axes[index].size)
    for index in channel_axes:
        if index != chosen:
            call.freeze(axes[index], "is merged with another channel axis")
    shape = [1] * len(axes)
    shape[chosen] = -1
    grid = axes[chosen].reshape(shape)
    return np.broadcast_to(grid, [axis.size for axis in axes]).reshape(-1)


def _split(call: OpCall, axis: AxisLabels, extents: Sequence[int]) -> list[AxisLabels]:
    """Labels of one axis cut into several.

    A tensor stays rectangular only where the removed positions fill whole slabs, so the labels
    are tied along all new axes but one: the axis along which they already differ most.
    """
    if len(extents) == 1:
        return [axis]
    if not is_prunable(axis):
        return [frozen_axis(extent) for extent in extents]
    grid = axis.reshape(extents)
    carrier = max(range(len(extents)), key=lambda index: _variety(grid, index))
    slabs = np.moveaxis(grid, carrier, 0).reshape(extents[carrier], -1)
    for column in range(1, slabs.shape[1]):
        call.tie(slabs[:, 0], slabs[:, column])
    result = [frozen_axis(extent) for extent in extents]
    result[carrier] = slabs[:, 0]
    return result


def _variety(grid: np.ndarray[Any, Any], axis: int) -> tuple[int, int]:
    """Sort key: axes along which labels differ come first, the longest of them wins."""
    differs = bool((np.diff(grid, axis=axis) != 0).any())
    return int(differs), grid.shape[axis]


def reshape(call: OpCall) -> TensorLabels:
    """Axes are merged and split; only a channel axis keeps labels."""
    data, after = call.tensor(0), _shape(call.call)
    before = [axis.size for axis in data]
    result = [frozen_axis(extent) for extent in after]
    for old_run, new_run in _matching_runs(before, after):
        merged = (
            data[old_run[0]]
            if len(old_run) == 1
            else _merge(call, [data[axis] for axis in old_run])
        )
        parts = _split(call, merged, [after[axis] for axis in new_run])
        for axis, labels in zip(new_run, parts, strict=True):
            result[axis] = labels
    return tuple(result)


def rewrite_reshape(rewrite: Rewrite) -> Any:
    """Reshape to the extents that are left."""
    return relax.op.reshape(rewrite.arguments[0], rewrite.extents(rewrite.output))


def flatten_all(call: OpCall) -> TensorLabels:
    """The whole tensor becomes one axis."""
    return (_merge(call, call.tensor(0)),)


def permute_dims(call: OpCall) -> TensorLabels:
    """Axes are permuted; without axes they are reversed."""
    data = call.tensor(0)
    axes = call.attrs.axes
    order = [int(axis) for axis in axes] if axes is not None else range(len(data))[::-1]
    return tuple(data[axis] for axis in order)


def expand_dims(call: OpCall) -> TensorLabels:
    """New axes of extent 1 are neutral."""
    result = list(call.tensor(0))
    rank = len(_shape(call.call))
    for axis in sorted(int(axis) % rank for axis in call.attrs.axis):
        result.insert(axis, frozen_axis(1))
    return tuple(result)


def squeeze(call: OpCall) -> TensorLabels:
    """Axes of extent 1 go away."""
    data = call.tensor(0)
    axes = call.attrs.axis
    gone = (
        {axis for axis, labels in enumerate(data) if labels.size == 1}
        if axes is None
        else {int(axis) % len(data) for axis in axes}
    )
    return tuple(labels for axis, labels in enumerate(data) if axis not in gone)


def broadcast_to(call: OpCall) -> TensorLabels:
    """A stretched axis gets fresh labels: what consumes it decides whether it may shrink."""
    data, after = call.tensor(0), _shape(call.call)
    padding = (frozen_axis(1),) * (len(after) - len(data))
    return tuple(
        labels if labels.size == extent else call.space.fresh_axis(extent)
        for labels, extent in zip((*padding, *data), after, strict=True)
    )


def rewrite_broadcast_to(rewrite: Rewrite) -> Any:
    """Broadcast to the extents that are left."""
    return relax.op.broadcast_to(rewrite.arguments[0], rewrite.extents(rewrite.output))


def concat(call: OpCall) -> TensorLabels:
    """Labels are concatenated along the axis; the other axes are tied."""
    parts: tuple[TensorLabels, ...] = call.inputs[0]
    axis = int(call.attrs.axis) % len(parts[0])
    for part in parts[1:]:
        for other in range(len(part)):
            if other != axis:
                call.tie(parts[0][other], part[other])
    joined = np.concatenate([np.maximum(part[axis], 0) for part in parts])
    return (*parts[0][:axis], joined, *parts[0][axis + 1 :])


def stack(call: OpCall) -> TensorLabels:
    """All axes are tied; the new one is frozen."""
    parts: tuple[TensorLabels, ...] = call.inputs[0]
    for part in parts[1:]:
        for left, right in zip(parts[0], part, strict=True):
            call.tie(left, right)
    axis = int(call.attrs.axis) % (len(parts[0]) + 1)
    return (*parts[0][:axis], frozen_axis(len(parts)), *parts[0][axis:])


def _split_bounds(attrs: Any, extent: int) -> list[int]:
    """Inner bounds of the sections of a split."""
    spec = attrs.indices_or_sections
    if isinstance(spec, int) or not hasattr(spec, "__len__"):
        sections = int(spec)
        step = -(-extent // sections)
        return [min(step * index, extent) for index in range(1, sections)]
    return [int(bound) for bound in spec]


def split(call: OpCall) -> tuple[TensorLabels, ...]:
    """Each section takes its part of the labels."""
    data = call.tensor(0)
    axis = int(call.attrs.axis) % len(data)
    sections = np.split(data[axis], _split_bounds(call.attrs, data[axis].size))
    return tuple((*data[:axis], _as_axis(section), *data[axis + 1 :]) for section in sections)


def _as_axis(labels: AxisLabels) -> AxisLabels:
    """A section of one frozen position broadcasts like any axis of extent 1."""
    if labels.size == 1 and labels[0] <= 0:
        return np.full(1, NEUTRAL, dtype=np.int64)
    return labels


def rewrite_split(rewrite: Rewrite) -> Any:
    """Split at the number of positions left before every old bound."""
    data = rewrite.inputs[0]
    axis = int(rewrite.attrs.axis) % len(data)
    mask = rewrite.mask(data[axis])
    if mask.all():
        return same_op(rewrite)
    bounds = [int(mask[:bound].sum()) for bound in _split_bounds(rewrite.attrs, mask.size)]
    return relax.op.split(rewrite.arguments[0], bounds, axis)


def _slices(call: Any, rank: int) -> dict[int, tuple[int, int, int]]:
    """Normalised (begin, end, stride) of every sliced axis of a `strided_slice` call."""
    axes, begins, ends, *rest = call.args[1:]
    shape = _shape(call.args[0])
    strides = rest[0] if rest else [1] * len(axes)
    return {
        int(axis) % rank: slice(int(begin), int(end), int(stride)).indices(shape[int(axis) % rank])
        for axis, begin, end, stride in zip(axes, begins, ends, strides, strict=True)
    }


def strided_slice(call: OpCall) -> TensorLabels:
    """The slice takes its labels with it; a stride other than 1 freezes the axis."""
    result = list(call.tensor(0))
    for axis, (begin, end, stride) in _slices(call.call, len(result)).items():
        if stride != 1:
            call.freeze(result[axis], "is sliced with a stride")
        result[axis] = _as_axis(result[axis][slice(begin, end if end >= 0 else None, stride)])
    return tuple(result)


def rewrite_strided_slice(rewrite: Rewrite) -> Any:
    """Slice at the number of positions left before every old bound."""
    data = rewrite.inputs[0]
    begins, ends = rewrite.call.args[2:4]
    bounds = [(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True)]
    slices = _slices(rewrite.call, len(data))
    for index, (axis, (begin, end, stride)) in enumerate(slices.items()):
        mask = rewrite.mask(data[axis])
        if stride == 1 and not mask.all():
            bounds[index] = (int(mask[:begin].sum()), int(mask[:end].sum()))
    starts, stops = zip(*bounds, strict=True)
    return relax.op.strided_slice(
        rewrite.arguments[0], list(slices), starts, stops, *rewrite.arguments[4:]
    )


def pad(call: OpCall) -> TensorLabels:
    """A padded axis is frozen; the others pass."""
    data, after = call.tensor(0), _shape(call.call)
    result = []
    for labels, extent in zip(data, after, strict=True):
        if labels.size != extent:
            call.freeze(labels, "is padded")
        result.append(labels if labels.size == extent else frozen_axis(extent))
    return tuple(result)


MOVEMENT: OpTable = {
    "relax.reshape": OpRule(reshape, rewrite_reshape),
    "relax.flatten": OpRule(flatten_all),
    "relax.permute_dims": OpRule(permute_dims),
    "relax.expand_dims": OpRule(expand_dims),
    "relax.squeeze": OpRule(squeeze),
    "relax.broadcast_to": OpRule(broadcast_to, rewrite_broadcast_to),
    "relax.concat": OpRule(concat),
    "relax.stack": OpRule(stack),
    "relax.split": OpRule(split, rewrite_split),
    "relax.strided_slice": OpRule(strided_slice, rewrite_strided_slice),
    "relax.nn.pad": OpRule(pad),
}
