"""Ops that look across a whole axis: statistics, softmax, scans and sorting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.channels.labels import TensorLabels, frozen_axis
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite, RewriteRule, same_op

op = relax.op
Mask = NDArray[np.bool_]


def _reduced_axes(attrs: Any, rank: int) -> list[int]:
    """Axes that a reduction looks across, ascending."""
    if attrs.axis is None:
        return list(range(rank))
    axes = attrs.axis if hasattr(attrs.axis, "__len__") else [attrs.axis]
    return sorted({int(axis) % rank for axis in axes})


def _without(tensor: TensorLabels, axes: Iterable[int], keepdims: bool) -> TensorLabels:
    gone = set(axes)
    return tuple(
        frozen_axis(1) if axis in gone else labels
        for axis, labels in enumerate(tensor)
        if keepdims or axis not in gone
    )


def statistic(call: OpCall) -> TensorLabels:
    """The reduced axes go away; removed channels count no more."""
    data = call.tensor(0)
    return _without(data, _reduced_axes(call.attrs, len(data)), bool(call.attrs.keepdims))


def softmax(call: OpCall) -> TensorLabels:
    """Labels pass through; removed channels leave the sum of the normalised axis."""
    return call.tensor(0)


def selection(call: OpCall) -> TensorLabels:
    """The reduced axis goes away.

    Its channels stay: the result names or selects one of them by its position.
    """
    data = call.tensor(0)
    axes = _reduced_axes(call.attrs, len(data))
    for axis in axes:
        call.freeze(data[axis], "is selected from by position")
    return _without(data, axes, bool(call.attrs.keepdims))


def median(call: OpCall) -> tuple[TensorLabels, TensorLabels]:
    """The reduced axis goes away, in the values and in their positions.

    Its channels stay: the result selects one of them by its position.
    """
    found = selection(call)
    return found, found


def ordered(call: OpCall) -> TensorLabels:
    """Labels of the other axes pass.

    Channels along the axis stay: the result depends on their order.
    """
    data = call.tensor(0)
    axes = _reduced_axes(call.attrs, len(data))
    for axis in axes:
        call.freeze(data[axis], "is scanned in order")
    if call.attrs.axis is None:
        return tuple(frozen_axis(int(extent)) for extent in call.call.ty.shape.values)
    return data


def topk(call: OpCall) -> Any:
    """Labels of the other axes pass, in the values and in their positions.

    Channels along the axis stay: they are selected by position.
    """
    data = call.tensor(0)
    (axis,) = _reduced_axes(call.attrs, len(data))
    call.freeze(data[axis], "is selected from by position")
    count = int(call.attrs.k) if int(call.attrs.k) > 0 else data[axis].size
    found = (*data[:axis], frozen_axis(count), *data[axis + 1 :])
    return (found, found) if call.attrs.ret_type == "both" else found


def one_hot(call: OpCall) -> TensorLabels:
    """Labels pass through; a new axis is added.

    The classes on it stay.
    """
    data = call.tensor(0)
    axis = int(call.attrs.axis) % (len(data) + 1)
    return (*data[:axis], frozen_axis(int(call.attrs.depth)), *data[axis:])


def triangle(call: OpCall) -> TensorLabels:
    """Labels of the batch axes pass.

    Rows and columns stay: the diagonal depends on their positions.
    """
    data = call.tensor(0)
    for labels in data[-2:]:
        call.freeze(labels, "is cut along the diagonal")
    return data


def _kept_of(rewrite: Rewrite, axes: Iterable[int]) -> Mask:
    """Which positions of the reduced axes stay; axes that are not reduced have extent 1.

    Hence the number of positions that stay is the number of values that enter each result.
    """
    data: TensorLabels = rewrite.inputs[0]
    kept = np.ones([1] * len(data), dtype=bool)
    for axis in axes:
        shape = [1] * len(data)
        shape[axis] = -1
        kept = kept & rewrite.mask(data[axis]).reshape(shape)
    return kept


def _keeping(kept: Mask, data: Any, other: Any, dtype: str) -> Any:
    """The data where channels stay, and `other` in place of the removed ones."""
    return op.where(relax.const(kept), data, relax.const(other, dtype))


def _lowest(dtype: str) -> Any:
    return np.finfo(dtype).min if dtype.startswith("float") else np.iinfo(dtype).min


def _highest(dtype: str) -> Any:
    return np.finfo(dtype).max if dtype.startswith("float") else np.iinfo(dtype).max


def _masked(rewrite: Rewrite, build: Callable[[Any, Mask, list[int], str], Any]) -> Any:
    """The op as it is where nothing is removed, else what `build` makes of its data."""
    data = rewrite.arguments[0]
    axes = _reduced_axes(rewrite.attrs, len(rewrite.inputs[0]))
    kept = _kept_of(rewrite, axes)
    return same_op(rewrite) if kept.all() else build(data, kept, axes, str(data.ty.dtype))


def _masked_by(ignored: Callable[[str], Any]) -> RewriteRule:
    """The same reduction, of data whose removed channels hold a value that changes nothing."""

    def masked(rewrite: Rewrite) -> Any:
        def build(data: Any, kept: Mask, _axes: list[int], dtype: str) -> Any:
            filled = _keeping(kept, data, ignored(dtype), dtype)
            return relax.Call(rewrite.call.op, [filled], rewrite.attrs)

        return _masked(rewrite, build)

    return masked


def _mean(data: Any, kept: Mask, axes: list[int], dtype: str, keepdims: bool) -> Any:
    total = op.sum(_keeping(kept, data, 0, dtype), axes, keepdims)
    return op.divide(total, relax.const(float(kept.sum()), dtype))


def _variance(data: Any, kept: Mask, axes: list[int], dtype: str, keepdims: bool) -> Any:
    deviation = op.subtract(data, _mean(data, kept, axes, dtype, keepdims=True))
    square = op.square(_keeping(kept, deviation, 0, dtype))
    total = op.sum(square, axes, keepdims)
    return op.divide(total, relax.const(float(kept.sum()), dtype))


def masked_mean(rewrite: Rewrite) -> Any:
    """The mean over kept channels."""
    keepdims = bool(rewrite.attrs.keepdims)
    return _masked(rewrite, partial(_mean, keepdims=keepdims))


def masked_variance(rewrite: Rewrite) -> Any:
    """The variance over kept channels."""
    keepdims = bool(rewrite.attrs.keepdims)
    return _masked(rewrite, partial(_variance, keepdims=keepdims))


def masked_std(rewrite: Rewrite) -> Any:
    """The standard deviation over kept channels."""
    keepdims = bool(rewrite.attrs.keepdims)

    def build(data: Any, kept: Mask, axes: list[int], dtype: str) -> Any:
        return op.sqrt(_variance(data, kept, axes, dtype, keepdims))

    return _masked(rewrite, build)


def masked_softmax(rewrite: Rewrite) -> Any:
    """The softmax over kept channels; removed ones become 0, in the logarithm as well."""

    def build(data: Any, kept: Mask, _axes: list[int], dtype: str) -> Any:
        filled = _keeping(kept, data, _lowest(dtype), dtype)
        normalised = relax.Call(rewrite.call.op, [filled], rewrite.attrs)
        return _keeping(kept, normalised, 0, dtype)

    return _masked(rewrite, build)


REDUCTION: OpTable = {
    "relax.sum": OpRule(statistic, masked=_masked_by(lambda _dtype: 0)),
    "relax.prod": OpRule(statistic, masked=_masked_by(lambda _dtype: 1)),
    "relax.max": OpRule(statistic, masked=_masked_by(_lowest)),
    "relax.min": OpRule(statistic, masked=_masked_by(_highest)),
    "relax.mean": OpRule(statistic, masked=masked_mean),
    "relax.variance": OpRule(statistic, masked=masked_variance),
    "relax.std": OpRule(statistic, masked=masked_std),
    "relax.nn.softmax": OpRule(softmax, masked=masked_softmax),
    "relax.nn.log_softmax": OpRule(softmax, masked=masked_softmax),
    "relax.argmax": OpRule(selection),
    "relax.argmin": OpRule(selection),
    "relax.median": OpRule(median),
    "relax.cumsum": OpRule(ordered),
    "relax.cumprod": OpRule(ordered),
    "relax.sort": OpRule(ordered),
    "relax.argsort": OpRule(ordered),
    "relax.topk": OpRule(topk),
    "relax.one_hot": OpRule(one_hot),
    "relax.tril": OpRule(triangle),
    "relax.triu": OpRule(triangle),
}
