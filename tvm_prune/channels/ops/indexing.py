"""Ops that read or write positions named by a tensor of indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax
from tvm.ir import GenericConst

from tvm_prune.channels.labels import AxisLabels, TensorLabels, frozen_axis
from tvm_prune.channels.ops.elementwise import broadcast
from tvm_prune.channels.ops.slicing import as_axis, positions_left
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite, same_op


def _taken_axis(call: Any, rank: int) -> int:
    """The axis that a `take` looks into; without one the data is a vector."""
    return 0 if call.attrs.axis is None else int(call.attrs.axis) % rank


def _selection(call: Any, extent: int) -> NDArray[np.int64] | None:
    """Constant indices that select or permute whole channels, shape (n,) or ().

    Indices that repeat some positions more often than others are a look-up, as in a table of
    relative positions, where a row is no channel.
    """
    indices = call.args[1]
    if not isinstance(indices, GenericConst) or len(indices.ty.shape.values) > 1:
        return None
    values: NDArray[np.int64] = indices.value.numpy().astype(np.int64)
    if str(call.attrs.mode) == "wrap":
        values = values % extent
    if values.size == 0 or values.min() < 0 or values.max() >= extent:
        return None
    _, counts = np.unique(values, return_counts=True)
    return values if (counts == counts[0]).all() else None


def take(call: OpCall) -> TensorLabels:
    """Constant indices that select, permute or repeat channels take the labels with them.

    A single channel that is taken out stays, and so does an axis that other indices look into,
    as the words of an embedding do.
    """
    data, indices = call.tensor(0), call.tensor(1)
    axis = _taken_axis(call.call, len(data))
    selected = _selection(call.call, data[axis].size)
    if selected is not None and selected.ndim == 0:
        call.freeze(data[axis][selected.reshape(1)], "is the only one taken")
        return (*data[:axis], *data[axis + 1 :])
    if selected is not None and call.space.is_free(data[axis]):
        return (*data[:axis], as_axis(data[axis][selected]), *data[axis + 1 :])
    call.freeze(data[axis], "is looked up by index")
    return (*data[:axis], *indices, *data[axis + 1 :])


def rewrite_take(rewrite: Rewrite) -> Any:
    """Take the positions that are left of the selected ones."""
    data = rewrite.inputs[0]
    axis = _taken_axis(rewrite.call, len(data))
    mask = rewrite.mask(data[axis])
    selected = _selection(rewrite.call, mask.size)
    if selected is None or mask.all():
        return same_op(rewrite)
    left = positions_left(mask, np.atleast_1d(selected)).reshape([-1] * selected.ndim)
    indices = relax.const(left, rewrite.call.args[1].ty.dtype)
    return relax.Call(rewrite.call.op, [rewrite.arguments[0], indices], rewrite.attrs)


def _tie_or_freeze(call: OpCall, left: AxisLabels, right: AxisLabels) -> None:
    """Axes of equal extent correspond; of unequal ones a part of the longer is left out."""
    if left.size == right.size:
        call.tie(left, right)
        return
    for labels in (left, right):
        call.freeze(labels, "is cut to the extent of the indices")


def gather_elements(call: OpCall) -> TensorLabels:
    """Data and indices are tied along the other axes.

    The axis of the data that the indices look into stays.
    """
    data, indices = call.tensor(0), call.tensor(1)
    axis = int(call.attrs.axis) % len(data)
    for index, (left, right) in enumerate(zip(data, indices, strict=True)):
        if index == axis:
            call.freeze(left, "is looked up by index")
        else:
            _tie_or_freeze(call, left, right)
    return indices


def gather_nd(call: OpCall) -> TensorLabels:
    """Axes that the indices do not look into pass.

    The others stay.
    """
    data, indices = call.tensor(0), call.tensor(1)
    batch = int(call.attrs.batch_dims)
    depth = batch + int(indices[-1].size)
    call.freeze(indices[-1], "is a tuple of indices")
    for left, right in zip(data[:batch], indices[:batch], strict=True):
        call.tie(left, right)
    for labels in data[batch:depth]:
        call.freeze(labels, "is looked up by index")
    return (*indices[:-1], *data[depth:])


def index_tensor(call: OpCall) -> TensorLabels:
    """Axes without an index pass.

    The indexed ones stay.
    """
    data, indices = call.tensor(0), list(call.inputs[1])
    for labels in data[: len(indices)]:
        call.freeze(labels, "is looked up by index")
    return (*broadcast(call, indices), *data[len(indices) :])


def scatter_elements(call: OpCall) -> TensorLabels:
    """Data, indices and updates are tied along the other axes.

    The axis that is written to stays.
    """
    data, indices, updates = call.tensor(0), call.tensor(1), call.tensor(2)
    axis = int(call.attrs.axis) % len(data)
    for index, labels in enumerate(data):
        _tie_or_freeze(call, indices[index], updates[index])
        if index == axis:
            call.freeze(labels, "is written to by index")
            call.freeze(updates[index], "is written by index")
        else:
            _tie_or_freeze(call, labels, indices[index])
    return data


def scatter_nd(call: OpCall) -> TensorLabels:
    """Axes that the indices do not name are tied to the updates.

    The others stay, in the data, the indices and the updates.
    """
    data, indices, updates = call.tensor(0), call.tensor(1), call.tensor(2)
    depth = int(indices[-1].size)
    # an update that goes would leave the old value in its place, not a zero
    for labels in (*data[:depth], *indices, *updates[: len(indices) - 1]):
        call.freeze(labels, "is written by index")
    for left, right in zip(data[depth:], updates[len(indices) - 1 :], strict=True):
        call.tie(left, right)
    return data


def index_put(call: OpCall) -> TensorLabels:
    """A tensor of the data's shape.

    Every axis of the data, the indices and the values stays.
    """
    for tensor in (call.tensor(0), *call.inputs[1], call.tensor(2)):
        call.space.freeze_tensor(tensor, f"is written by index in {call.where}")
    return tuple(frozen_axis(labels.size) for labels in call.tensor(0))


INDEXING: OpTable = {
    "relax.take": OpRule(take, rewrite_take),
    "relax.gather_elements": OpRule(gather_elements),
    "relax.gather_nd": OpRule(gather_nd),
    "relax.index_tensor": OpRule(index_tensor),
    "relax.scatter_elements": OpRule(scatter_elements),
    "relax.scatter_nd": OpRule(scatter_nd),
    "relax.index_put": OpRule(index_put),
}
