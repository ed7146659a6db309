"""Statistics along axes, cumulative sums and sorting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tvm import relax

from tvm_prune.to_onnx.rule import Converter, ConverterTable, OpExport

REDUCE: dict[str, str] = {
    "sum": "ReduceSum",
    "mean": "ReduceMean",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "prod": "ReduceProd",
}


def reduction(op_type: str) -> Converter:
    """The ONNX reduction along the same axes."""
    return lambda export: _reduce(export, op_type, export.input(), bool(export.attrs.keepdims))


def _reduce(export: OpExport, op_type: str, value: str, keepdims: bool) -> str:
    axes = export.attrs.axis
    inputs = [] if axes is None else [export.ints([int(axis) for axis in axes], "axes")]
    return export.emit(op_type, value, *inputs, keepdims=int(keepdims))


def variance(export: OpExport) -> str:
    """Mean of the squared distance from the mean."""
    value = export.input()
    distance = export.emit("Sub", value, _reduce(export, "ReduceMean", value, keepdims=True))
    squares = export.emit("Mul", distance, distance)
    return _reduce(export, "ReduceMean", squares, bool(export.attrs.keepdims))


def standard_deviation(export: OpExport) -> str:
    """Square root of the variance."""
    return export.emit("Sqrt", variance(export))


def extremum(op_type: str) -> Converter:
    """Index of the first largest or smallest value along one axis, or of all."""

    def convert(export: OpExport) -> str:
        keepdims = bool(export.attrs.keepdims)
        if export.attrs.axis is not None:
            axis = int(export.attrs.axis)
            found = export.emit(op_type, export.input(), axis=axis, keepdims=int(keepdims))
        else:
            flat = export.reshape(export.input(), [-1])
            found = export.emit(op_type, flat, axis=0, keepdims=0)
            if keepdims:
                found = export.reshape(found, export.result_shape)
        return export.cast(found, "int64", export.result_dtype)

    return convert


def cumulative_sum(export: OpExport) -> str:
    """CumSum, of all values in order where there is no axis."""
    value = export.cast(export.input(), export.dtype(), export.result_dtype)
    axis = export.attrs.axis
    if axis is None:
        value = export.reshape(value, [-1])
    return export.emit(
        "CumSum",
        value,
        export.number(int(axis or 0), "int64"),
        exclusive=int(bool(export.attrs.exclusive)),
    )


def cumulative_product(export: OpExport) -> str:
    """Products of all values up to each one; ONNX has no op that scans them."""
    value = export.cast(export.input(), export.dtype(), export.result_dtype)
    shape = export.shape()
    if export.attrs.axis is None:
        value, shape, axis = export.reshape(value, [-1]), (math.prod(shape),), 0
    else:
        axis = export.axis()
    count = shape[axis]
    enters = np.tri(count, count, -1 if export.attrs.exclusive else 0, dtype=bool)
    mask = enters.reshape(count, count, *[1] * (len(shape) - axis - 1))
    rows = export.emit("Unsqueeze", value, export.ints([axis], "axes"))
    one = export.number(1, export.result_dtype)
    factors = export.emit("Where", export.constant(mask, "mask"), rows, one)
    return export.emit("ReduceProd", factors, export.ints([axis + 1], "axes"), keepdims=0)


def median(export: OpExport) -> str | tuple[str, ...]:
    """The middle value, the lower of two, and its index."""
    attrs = export.attrs
    axes = [0] if attrs.axis is None else [int(axis) % len(export.shape()) for axis in attrs.axis]
    if len(axes) > 1:
        raise export.unsupported(f"the axes {axes}", "take the median along one axis")
    data, extent = export.input(), export.shape()[axes[0]]
    if attrs.axis is None:
        data, extent = export.reshape(data, [-1]), math.prod(export.shape())
    middle = (extent - 1) // 2
    inputs = [data, export.ints([middle + 1], "k")]
    lower = export.emit_many("TopK", inputs, 2, axis=axes[0], largest=0)
    index = export.number(middle, "int64") if not attrs.keepdims else export.ints([middle], "index")
    found = [export.emit("Gather", part, index, axis=axes[0]) for part in lower]
    if not isinstance(export.call.ty, relax.TupleType):
        return found[0]
    return found[0], export.cast(found[1], "int64", str(export.call.ty.fields[1].dtype))


def topk(export: OpExport) -> str | tuple[str, ...]:
    """TopK; all values are kept where k is not positive."""
    attrs = export.attrs
    axis = export.axis()
    count = int(attrs.k) if int(attrs.k) > 0 else export.shape()[axis]
    values, indices = _largest(export, count, axis, largest=bool(attrs.largest))
    if attrs.ret_type == "values":
        return values
    indices = export.cast(indices, "int64", str(attrs.dtype))
    return indices if attrs.ret_type == "indices" else (values, indices)


def _largest(export: OpExport, count: int, axis: int, *, largest: bool) -> Sequence[str]:
    inputs = [export.input(), export.ints([count], "k")]
    return export.emit_many("TopK", inputs, 2, axis=axis, largest=int(largest))


def sort(export: OpExport) -> str:
    """All values in order."""
    axis = export.axis()
    return _largest(export, export.shape()[axis], axis, largest=bool(export.attrs.descending))[0]


def argsort(export: OpExport) -> str:
    """Indices that put the values in order."""
    axis = export.axis()
    indices = _largest(export, export.shape()[axis], axis, largest=bool(export.attrs.descending))[1]
    return export.cast(indices, "int64", export.result_dtype)


REDUCTION: ConverterTable = {
    **{f"relax.{name}": reduction(op_type) for name, op_type in REDUCE.items()},
    "relax.variance": variance,
    "relax.std": standard_deviation,
    "relax.argmax": extremum("ArgMax"),
    "relax.argmin": extremum("ArgMin"),
    "relax.cumsum": cumulative_sum,
    "relax.cumprod": cumulative_product,
    "relax.median": median,
    "relax.topk": topk,
    "relax.sort": sort,
    "relax.argsort": argsort,
}
