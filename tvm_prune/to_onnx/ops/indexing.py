"""Ops that read or write at indices that are data."""

from __future__ import annotations

import numpy as np

from tvm_prune.to_onnx.rule import ConverterTable, OpExport

REDUCTIONS: dict[str, str] = {
    "update": "none",
    "add": "add",
    "mul": "mul",
    "min": "min",
    "max": "max",
}
INDEX_TYPES = ("int32", "int64")


def _indices(export: OpExport, index: int) -> str:
    """Indices as ONNX takes them."""
    value, dtype = export.input(index), _dtype(export, index)
    return value if dtype in INDEX_TYPES else export.cast(value, dtype, "int64")


def _wide_indices(export: OpExport, index: int) -> str:
    """Indices as the n-dimensional gathers and scatters take them."""
    return export.cast(export.input(index), _dtype(export, index), "int64")


def _dtype(export: OpExport, index: int) -> str:
    ty = export.args[index].ty
    return str(getattr(ty, "dtype", ty))


def take(export: OpExport) -> str:
    """Gather; without an axis from all values in order."""
    data, mode = export.input(), str(export.attrs.mode)
    axis = export.attrs.axis
    if axis is None:
        data = export.reshape(data, [-1])
    extent = int(np.prod(export.shape())) if axis is None else export.shape()[export.axis()]
    indices = _indices(export, 1)
    if mode == "clip":
        bounds = [export.number(bound, _index_dtype(export)) for bound in (0, extent - 1)]
        indices = export.emit("Clip", indices, *bounds)
    elif mode == "wrap":
        indices = export.emit("Mod", indices, export.number(extent, _index_dtype(export)))
    elif mode != "fast":
        raise export.unsupported(f"the mode '{mode}'", "use the mode fast, clip or wrap")
    return export.emit("Gather", data, indices, axis=int(axis or 0))


def _index_dtype(export: OpExport) -> str:
    dtype = _dtype(export, 1)
    return dtype if dtype in INDEX_TYPES else "int64"


def gather_elements(export: OpExport) -> str:
    """GatherElements."""
    return export.emit(
        "GatherElements", export.input(), _indices(export, 1), axis=int(export.attrs.axis)
    )


def gather_nd(export: OpExport) -> str:
    """GatherND."""
    batch = int(export.attrs.batch_dims)
    return export.emit("GatherND", export.input(), _wide_indices(export, 1), batch_dims=batch)


def index_tensor(export: OpExport) -> str:
    """Numpy's indexing by several tensors, along the first axes."""
    indices, _ = _joint_indices(export)
    return export.emit("GatherND", export.input(), indices)


def index_put(export: OpExport) -> str:
    """Numpy's assignment at the places that several tensors name."""
    indices, shape = _joint_indices(export)
    values = export.emit("Expand", export.input(2), export.ints(shape, "shape"))
    reduction = "add" if export.attrs.accumulate else "none"
    return export.emit("ScatterND", export.input(), indices, values, reduction=reduction)


def _joint_indices(export: OpExport) -> tuple[str, tuple[int, ...]]:
    """Several index tensors broadcast together, as rows of one, and their common shape."""
    shape = np.broadcast_shapes(*export.field_shapes(1))
    target, last = export.ints(shape, "shape"), export.ints([-1], "axes")
    columns = []
    for name, ty in zip(export.fields(1), export.args[1].ty.fields, strict=True):
        wide = export.cast(name, str(ty.dtype), "int64")
        columns.append(export.emit("Unsqueeze", export.emit("Expand", wide, target), last))
    return export.emit("Concat", *columns, axis=-1), shape


def slice_scatter(export: OpExport) -> str:
    """A slice is overwritten: with its axis in front, whole rows are."""
    axis, shape = export.axis(), export.shape()
    bounds = slice(*(int(bound.value) for bound in export.args[2:5]))
    rows = np.arange(*bounds.indices(shape[axis]), dtype=np.int64).reshape(-1, 1)
    order = [axis, *(other for other in range(len(shape)) if other != axis)]
    data, update = (export.transpose(export.input(index), order) for index in (0, 1))
    result = export.emit("ScatterND", data, export.constant(rows, "indices"), update)
    return export.transpose(result, [int(place) for place in np.argsort(order)])


def _reduction(export: OpExport) -> str:
    found = REDUCTIONS.get(str(export.attrs.reduction))
    if found is None:
        raise export.unsupported(
            f"the reduction '{export.attrs.reduction}'", f"use one of {', '.join(REDUCTIONS)}"
        )
    return found


def scatter_elements(export: OpExport) -> str:
    """ScatterElements."""
    inputs = (export.input(), _indices(export, 1), export.input(2))
    return export.emit(
        "ScatterElements", *inputs, axis=int(export.attrs.axis), reduction=_reduction(export)
    )


def scatter_nd(export: OpExport) -> str:
    """ScatterND."""
    inputs = (export.input(), _wide_indices(export, 1), export.input(2))
    return export.emit("ScatterND", *inputs, reduction=_reduction(export))


def one_hot(export: OpExport) -> str:
    """OneHot in the combination of dtypes that ONNX Runtime has."""
    on, off = (float(export.args[index].value) for index in (1, 2))
    pair = export.constant(np.asarray([off, on], dtype=np.float32), "values")
    depth = export.number(int(export.attrs.depth), "int64")
    hot = export.emit("OneHot", _wide_indices(export, 0), depth, pair, axis=int(export.attrs.axis))
    return export.cast(hot, "float32", export.result_dtype)


def reverse_sequence(export: OpExport) -> str:
    """ReverseSequence, which wants both its axes in front."""
    rank, attrs = len(export.shape()), export.attrs
    along, batch = int(attrs.seq_axis) % rank, int(attrs.batch_axis) % rank
    order = [batch, along, *(axis for axis in range(rank) if axis not in (along, batch))]
    data, lengths = export.transpose(export.input(), order), _wide_indices(export, 1)
    result = export.emit("ReverseSequence", data, lengths, batch_axis=0, time_axis=1)
    return export.transpose(result, [int(place) for place in np.argsort(order)])


def bucketize(export: OpExport) -> str:
    """How many boundaries lie below each value."""
    column = export.emit("Unsqueeze", export.input(), export.ints([-1], "axes"))
    compare = "GreaterOrEqual" if export.attrs.right else "Greater"
    above = export.emit(compare, column, export.input(1))
    counted = export.emit("Cast", above, to=export.element_type(export.result_dtype))
    return export.emit("ReduceSum", counted, export.ints([-1], "axes"), keepdims=0)


INDEXING: ConverterTable = {
    "relax.take": take,
    "relax.gather_elements": gather_elements,
    "relax.gather_nd": gather_nd,
    "relax.index_tensor": index_tensor,
    "relax.scatter_elements": scatter_elements,
    "relax.scatter_nd": scatter_nd,
    "relax.index_put": index_put,
    "relax.slice_scatter": slice_scatter,
    "relax.one_hot": one_hot,
    "relax.reverse_sequence": reverse_sequence,
    "relax.bucketize": bucketize,
}
