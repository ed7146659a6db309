"""Ops that cut positions out of an axis or add some: split, slice and pad."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.channels.labels import (
    FROZEN,
    NEUTRAL,
    AxisLabels,
    TensorLabels,
    frozen_axis,
)
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite, same_op


def positions_left(mask: NDArray[np.bool_], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the given positions of an axis are once some of it is gone; gone ones are left out."""
    found: NDArray[np.int64] = (np.cumsum(mask) - 1)[positions[mask[positions]]]
    return found


def as_axis(labels: AxisLabels) -> AxisLabels:
    """A section of one frozen position broadcasts like any axis of extent 1."""
    if labels.size == 1 and labels[0] <= FROZEN:
        return np.full(1, NEUTRAL, dtype=np.int64)
    return labels


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
    return tuple((*data[:axis], as_axis(section), *data[axis + 1 :]) for section in sections)


def rewrite_split(rewrite: Rewrite) -> Any:
    """Split at the number of positions left before every old bound."""
    data = rewrite.inputs[0]
    axis = int(rewrite.attrs.axis) % len(data)
    mask = rewrite.mask(data[axis])
    if mask.all():
        return same_op(rewrite)
    bounds = [int(mask[:bound].sum()) for bound in _split_bounds(rewrite.attrs, mask.size)]
    return relax.op.split(rewrite.arguments[0], bounds, axis)


def slice_bounds(call: Any, rank: int) -> dict[int, slice]:
    """The slice of every sliced axis of a `strided_slice` call, its bounds not negative."""
    axes, begins, ends, *rest = call.args[1:]
    strides = rest[0] if rest else [1] * len(axes)
    shape = [int(extent) for extent in call.args[0].ty.shape.values]
    found = {}
    for given, begin, end, stride in zip(axes, begins, ends, strides, strict=True):
        axis = int(given) % rank
        bounds = slice(int(begin), int(end), int(stride)).indices(shape[axis])
        found[axis] = slice(bounds[0], bounds[1] if bounds[1] >= 0 else None, bounds[2])
    return found


def strided_slice(call: OpCall) -> TensorLabels:
    """The slice takes its labels with it."""
    result = list(call.tensor(0))
    for axis, bounds in slice_bounds(call.call, len(result)).items():
        result[axis] = as_axis(result[axis][bounds])
    return tuple(result)


def rewrite_strided_slice(rewrite: Rewrite) -> Any:
    """Slice at the number of positions left before every old bound.

    What is left of every n-th position is no slice any more: such positions are taken one by one.
    """
    data = rewrite.inputs[0]
    begins, ends = rewrite.call.args[2:4]
    bounds = [(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True)]
    strides = [int(stride) for stride in rewrite.call.args[4]] if len(rewrite.call.args) > 4 else []
    slices = slice_bounds(rewrite.call, len(data))
    taken: dict[int, NDArray[np.int64]] = {}
    for index, (axis, part) in enumerate(slices.items()):
        mask = rewrite.mask(data[axis])
        if mask.all():
            continue
        if part.step == 1:
            bounds[index] = (int(mask[: part.start].sum()), int(mask[: part.stop].sum()))
        else:
            taken[axis] = positions_left(mask, np.arange(mask.size)[part])
            bounds[index], strides[index] = (0, int(mask.sum())), 1
    starts, stops = zip(*bounds, strict=True)
    result = relax.op.strided_slice(
        rewrite.arguments[0], list(slices), starts, stops, strides or None
    )
    for axis, positions in taken.items():
        result = relax.op.take(result, relax.const(positions, "int64"), axis)
    return result


def _padding(call: Any) -> list[tuple[int, int]]:
    """Positions added before and after each axis."""
    widths = [int(width) for width in call.attrs.pad_width]
    return list(zip(widths[::2], widths[1::2], strict=True))


def pad(call: OpCall) -> TensorLabels:
    """Constants that pad a channel axis are channels themselves, with labels of their own.

    An axis that is padded with its own values (reflect, replicate, circular) stays.
    """
    result = []
    for labels, (before, after) in zip(call.tensor(0), _padding(call.call), strict=True):
        if before == after == 0:
            result.append(labels)
        elif call.space.is_free(labels) and str(call.attrs.pad_mode) == "constant":
            parts = [_fresh(call, before), np.maximum(labels, FROZEN), _fresh(call, after)]
            result.append(np.concatenate(parts))
        else:
            call.freeze(labels, "is padded with its own values")
            result.append(frozen_axis(labels.size + before + after))
    return tuple(result)


def _fresh(call: OpCall, extent: int) -> AxisLabels:
    """New labels, of a single position as well: it lies among others."""
    return call.space.fresh_axis(extent + 1)[:extent]


def rewrite_pad(rewrite: Rewrite) -> Any:
    """Pad with as many constants as are left on either side."""
    widths: list[int] = []
    for labels, (before, after) in zip(rewrite.output, _padding(rewrite.call), strict=True):
        mask = rewrite.mask(labels)
        widths += [int(mask[:before].sum()), int(mask[mask.size - after :].sum())]
    attrs = rewrite.attrs
    value = float(attrs.pad_value)
    return relax.op.nn.pad(rewrite.arguments[0], widths, str(attrs.pad_mode), value)


def slice_scatter(call: OpCall) -> TensorLabels:
    """Data and updates are tied along the other axes.

    The axis that is written to stays.
    """
    data, updates = call.tensor(0), call.tensor(1)
    axis = int(call.attrs.axis) % len(data)
    for index, (left, right) in enumerate(zip(data, updates, strict=True)):
        if index == axis:
            call.freeze(left, "is written to by position")
            call.freeze(right, "is written by position")
        else:
            call.tie(left, right)
    return data


SLICING: OpTable = {
    "relax.split": OpRule(split, rewrite_split),
    "relax.strided_slice": OpRule(strided_slice, rewrite_strided_slice),
    "relax.nn.pad": OpRule(pad, rewrite_pad),
    "relax.slice_scatter": OpRule(slice_scatter),
}
