"""Ops that move whole axes: transpose, stretch, join, repeat and reverse."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_prune.channels.labels import NEUTRAL, AxisLabels, TensorLabels, frozen_axis
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite


def _shape(expr: Any) -> list[int]:
    return [int(extent) for extent in expr.ty.shape.values]


def permute_dims(call: OpCall) -> TensorLabels:
    """Axes are permuted; without axes they are reversed."""
    data = call.tensor(0)
    axes = call.attrs.axes
    order = [int(axis) for axis in axes] if axes is not None else range(len(data))[::-1]
    return tuple(data[axis] for axis in order)


def expand_dims(call: OpCall) -> TensorLabels:
    """Axes of extent 1 are added."""
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
    """A stretched axis gets labels of its own: what consumes it decides whether it may shrink."""
    data, after = call.tensor(0), _shape(call.call)
    padding = (frozen_axis(1),) * (len(after) - len(data))
    return tuple(
        labels if labels.size == extent else call.space.stretched_axis(extent)
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
    """All axes are tied; a new one is added.

    The positions on it stay.
    """
    parts: tuple[TensorLabels, ...] = call.inputs[0]
    for part in parts[1:]:
        for left, right in zip(parts[0], part, strict=True):
            call.tie(left, right)
    axis = int(call.attrs.axis) % (len(parts[0]) + 1)
    return (*parts[0][:axis], frozen_axis(len(parts)), *parts[0][axis:])


def flip(call: OpCall) -> TensorLabels:
    """Labels are reversed along the axis."""
    data = call.tensor(0)
    axis = int(call.attrs.axis) % len(data)
    return (*data[:axis], data[axis][::-1], *data[axis + 1 :])


def reverse_sequence(call: OpCall) -> TensorLabels:
    """Labels of the other axes pass.

    The sequence axis and the batch axis stay: what is reversed depends on the position.
    """
    data, batch = call.tensor(0), int(call.attrs.batch_axis)
    call.freeze(data[int(call.attrs.seq_axis) % len(data)], "is reversed up to some position")
    call.freeze(data[batch % len(data)], "is a batch of sequences")
    return data


def _stretched(call: OpCall, labels: AxisLabels, repeats: int, apart: bool) -> AxisLabels:
    """Labels of a repeated axis; one of extent 1 is stretched as by broadcasting."""
    if repeats == 1:
        return labels
    if labels.size == 1 and labels[0] == NEUTRAL:
        return call.space.stretched_axis(repeats)
    return np.tile(labels, repeats) if apart else np.repeat(labels, repeats)


def repeat(call: OpCall) -> TensorLabels:
    """Every label is repeated in place.

    Without an axis the whole tensor stays.
    """
    data, repeats = call.tensor(0), int(call.attrs.repeats)
    if call.attrs.axis is None:
        call.space.freeze_tensor(data, f"is flattened by {call.where}")
        return tuple(frozen_axis(extent) for extent in _shape(call.call))
    axis = int(call.attrs.axis) % len(data)
    repeated = _stretched(call, data[axis], repeats, apart=False)
    return (*data[:axis], repeated, *data[axis + 1 :])


def rewrite_repeat(rewrite: Rewrite) -> Any:
    """Repeat a stretched axis as often as positions are left."""
    axis = rewrite.attrs.axis
    repeats = int(rewrite.attrs.repeats)
    if axis is None:
        return relax.op.repeat(rewrite.arguments[0], repeats)
    labels = rewrite.inputs[0][int(axis)]
    if labels.size == 1 and labels[0] == NEUTRAL:
        repeats = rewrite.extent(rewrite.output[int(axis)])
    return relax.op.repeat(rewrite.arguments[0], repeats, int(axis))


def _tiling(call: Any, rank: int) -> tuple[int, list[int]]:
    """Number of axes that a tile adds in front, and how often each axis is repeated."""
    repeats = [int(count) for count in call.attrs.repeats]
    return max(0, len(repeats) - rank), [1] * (rank - len(repeats)) + repeats


def tile(call: OpCall) -> TensorLabels:
    """The labels of every axis are repeated as a whole."""
    added, repeats = _tiling(call.call, len(call.tensor(0)))
    data = (*[frozen_axis(1)] * added, *call.tensor(0))
    return tuple(
        _stretched(call, labels, count, apart=True)
        for labels, count in zip(data, repeats, strict=True)
    )


def rewrite_tile(rewrite: Rewrite) -> Any:
    """Tile a stretched axis as often as positions are left."""
    added, repeats = _tiling(rewrite.call, len(rewrite.inputs[0]))
    data = (*[frozen_axis(1)] * added, *rewrite.inputs[0])
    counts = [
        rewrite.extent(after) if before.size == 1 and before[0] == NEUTRAL else count
        for before, after, count in zip(data, rewrite.output, repeats, strict=True)
    ]
    return relax.op.tile(rewrite.arguments[0], counts)


def meshgrid(call: OpCall) -> tuple[TensorLabels, ...]:
    """Every result has the labels of all inputs, one an axis.

    With `xy` indexing all of it stays: TVM's declared shape is not the one it computes.
    """
    axes = tuple(part[0] if part else frozen_axis(1) for part in call.inputs[0])
    if str(call.attrs.indexing) != "ij":
        call.space.freeze_tensor(axes, f"is laid out by {call.where}")
    return tuple(axes for _ in axes)


MOVEMENT: OpTable = {
    "relax.permute_dims": OpRule(permute_dims),
    "relax.expand_dims": OpRule(expand_dims),
    "relax.squeeze": OpRule(squeeze),
    "relax.broadcast_to": OpRule(broadcast_to, rewrite_broadcast_to),
    "relax.concat": OpRule(concat),
    "relax.stack": OpRule(stack),
    "relax.flip": OpRule(flip),
    "relax.reverse_sequence": OpRule(reverse_sequence),
    "relax.repeat": OpRule(repeat, rewrite_repeat),
    "relax.tile": OpRule(tile, rewrite_tile),
    "relax.meshgrid": OpRule(meshgrid),
}
