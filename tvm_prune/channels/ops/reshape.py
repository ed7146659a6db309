"""Ops that lay the positions of a tensor out anew: reshape and flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.channels.labels import AxisLabels, TensorLabels, frozen_axis
from tvm_prune.channels.ops.axes import matching_runs, roles_of, shape_of
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite


def _merge(call: OpCall, axes: Sequence[AxisLabels]) -> AxisLabels:
    """Labels of several axes flattened into one: the one channel axis, repeated.

    An axis that only repeats another one, as the query heads that share a key head do, gives way.
    Where whole heads are asked for, the first axis is the one that counts heads.
    """
    free = [index for index, axis in enumerate(axes) if call.space.is_free(axis)]
    if not free:
        return frozen_axis(math.prod(axis.size for axis in axes))

    def preference(index: int) -> tuple[bool, int]:
        size = -index if call.attention == "heads" else axes[index].size
        return not call.space.is_stretched(axes[index]), size

    chosen = max(free, key=preference)
    for index in free:
        if index != chosen:
            call.freeze(axes[index], "is merged with another channel axis")
    shape = [1] * len(axes)
    shape[chosen] = -1
    grid = axes[chosen].reshape(shape)
    return np.broadcast_to(grid, [axis.size for axis in axes]).reshape(-1)


def _split(
    call: OpCall, axis: AxisLabels, extents: Sequence[int], at: Sequence[int]
) -> list[AxisLabels]:
    """Labels of one axis cut into several, which stand at `at` in the result.

    A tensor stays rectangular only where the removed positions fill whole slabs, so the labels
    are tied along all new axes but one.
    """
    if len(extents) == 1:
        return [axis]
    result = [frozen_axis(extent) for extent in extents]
    if call.space.is_free(axis):
        grid = axis.reshape(extents)
        carrier = _carrier(call, grid, at)
        slabs = np.moveaxis(grid, carrier, 0).reshape(extents[carrier], -1)
        first, others = slabs[:, :1], slabs[:, 1:]
        call.tie(np.broadcast_to(first, others.shape).ravel(), others.ravel())
        result[carrier] = slabs[:, 0]
    return result


def _carrier(call: OpCall, grid: NDArray[np.int64], at: Sequence[int]) -> int:
    """The part of an axis that keeps its labels.

    Heads of attention layers carry them or do not, as was asked for. Of the other parts, those
    whose positions all mean the same come first, then those along which the labels differ, then
    the longest.
    """
    roles = roles_of(call.variable, at, call.users)

    def preference(index: int) -> tuple[bool, bool, bool, int]:
        role = roles[index]
        differs = bool((np.diff(grid, axis=index) != 0).any())
        wanted = role.head == (call.attention == "heads")
        return wanted, not role.positional, differs, grid.shape[index]

    return max(range(grid.ndim), key=preference)


def reshape(call: OpCall) -> TensorLabels:
    """Axes are merged and split; only a channel axis keeps labels."""
    data, after = call.tensor(0), shape_of(call.call)
    before = [axis.size for axis in data]
    result = [frozen_axis(extent) for extent in after]
    for old_run, new_run in matching_runs(before, after):
        merged = (
            data[old_run[0]]
            if len(old_run) == 1
            else _merge(call, [data[axis] for axis in old_run])
        )
        parts = _split(call, merged, [after[axis] for axis in new_run], new_run)
        for axis, labels in zip(new_run, parts, strict=True):
            result[axis] = labels
    return tuple(result)


def rewrite_reshape(rewrite: Rewrite) -> Any:
    """Reshape to the extents that are left."""
    return relax.op.reshape(rewrite.arguments[0], rewrite.extents(rewrite.output))


def flatten_all(call: OpCall) -> TensorLabels:
    """The whole tensor becomes one axis."""
    return (_merge(call, call.tensor(0)),)


RESHAPE: OpTable = {
    "relax.reshape": OpRule(reshape, rewrite_reshape),
    "relax.flatten": OpRule(flatten_all),
}
