"""Convolutions, matrix products and attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tvm_prune.to_onnx.layouts import channels_first, reordered
from tvm_prune.to_onnx.ops.elementwise import is_floating
from tvm_prune.to_onnx.rule import ConverterTable, OpExport, shape_of


def convolution(export: OpExport, bias: Any | None = None) -> str:
    """Conv, between transposes where channels are not first."""
    return _convolution(export, "Conv", "OI", {}, bias)


def transposed_convolution(export: OpExport, bias: Any | None = None) -> str:
    """ConvTranspose, between transposes where channels are not first."""
    more = {"output_padding": [int(extent) for extent in export.attrs.output_padding]}
    if not any(more["output_padding"]):
        more = {}
    return _convolution(export, "ConvTranspose", "IO", more, bias)


def _convolution(
    export: OpExport, op_type: str, leading: str, more: dict[str, Any], bias: Any | None
) -> str:
    attrs = export.attrs
    wanted = channels_first(attrs.data_layout)
    kernel_wanted = leading + wanted[2:]
    data, weight = _operands(export)
    inputs = [
        reordered(export, data, attrs.data_layout, wanted),
        reordered(export, weight, attrs.kernel_layout, kernel_wanted),
    ]
    if bias is not None:
        inputs.append(export.value(bias))
    extents = dict(zip(attrs.kernel_layout, export.shape(1), strict=True))
    result = export.emit(
        op_type,
        *inputs,
        kernel_shape=[extents[axis] for axis in wanted[2:]],
        strides=[int(stride) for stride in attrs.strides],
        pads=[int(extent) for extent in attrs.padding],
        dilations=[int(step) for step in attrs.dilation],
        group=int(attrs.groups),
        **more,
    )
    return reordered(export, result, wanted, attrs.out_layout or attrs.data_layout)


def _operands(export: OpExport) -> list[str]:
    """Both operands in the dtype that the products are accumulated in."""
    dtype = export.result_dtype
    if not is_floating(dtype):
        raise export.unsupported(f"the dtype {dtype}", "use floating point operands in the model")
    return [export.cast(export.input(index), export.dtype(index), dtype) for index in (0, 1)]


def matmul(export: OpExport) -> str:
    """MatMul, in the dtype that the products are accumulated in.

    Vectors become matrices: ONNX Runtime's fusion of MatMul with a Transpose before it takes a
    vector on the right for a row.
    """
    dtype = export.result_dtype
    left, right = (export.cast(export.input(index), export.dtype(index), dtype) for index in (0, 1))
    left_is_vector, right_is_vector = (len(export.shape(index)) == 1 for index in (0, 1))
    if left_is_vector:
        left = export.emit("Unsqueeze", left, export.ints([0], "axes"))
    if right_is_vector:
        right = export.emit("Unsqueeze", right, export.ints([1], "axes"))
    product = export.emit("MatMul", left, right)
    gone = [-2] * left_is_vector + [-1] * right_is_vector
    return export.emit("Squeeze", product, export.ints(gone, "axes")) if gone else product


def dense(
    export: OpExport, weight: Any, bias: Any | None = None, *, transposed: bool = False
) -> str:
    """Gemm of rows and a weight, which is stored transposed or not."""
    inputs = [export.input(), export.value(weight)]
    if bias is not None:
        inputs.append(export.value(bias))
    return export.emit("Gemm", *inputs, transB=1 if transposed else None)


def einsum(export: OpExport) -> str:
    """Einsum."""
    equation = str(export.attrs.subscripts).replace(" ", "")
    return export.emit("Einsum", *export.fields(), equation=equation)


def outer(export: OpExport) -> str:
    """A column times a row."""
    column = export.emit("Unsqueeze", export.input(), export.ints([1], "axes"))
    return export.emit("Mul", column, export.input(1))


HEADS_FIRST = (0, 2, 1, 3)


def attention(export: OpExport) -> str:
    """Attention as products and a softmax; operands are (batch, positions, heads, dims)."""
    attrs = export.attrs
    if attrs.window_size is not None:
        raise export.unsupported("its sliding window", "give the window as a bias")
    query = export.transpose(export.input(0), HEADS_FIRST)
    key = export.transpose(export.input(1), (0, 2, 3, 1))
    value = export.transpose(export.input(2), HEADS_FIRST)
    dims = export.shape()[-1]
    scale = 1 / math.sqrt(dims) if attrs.scale is None else float(attrs.scale)
    scores = export.emit("Mul", export.emit("MatMul", query, key), export.number(scale))
    if len(export.args) > 3:
        scores = export.emit("Add", scores, export.input(3))
    if attrs.causal_mask is not None:
        scores = _masked(export, scores)
    mixed = export.emit("MatMul", export.emit("Softmax", scores, axis=-1), value)
    return export.transpose(mixed, HEADS_FIRST)


def _masked(export: OpExport, scores: str) -> str:
    """Scores of later positions at minus infinity."""
    rows, columns = export.shape(0)[1], shape_of(export.args[1])[1]
    offset = abs(rows - columns) if export.attrs.causal_mask == "BottomRight" else 0
    visible = export.constant(np.tri(rows, columns, offset, dtype=bool), "mask")
    return export.emit("Where", visible, scores, export.number(-math.inf))


CONTRACTION: ConverterTable = {
    **{f"relax.nn.conv{rank}d": convolution for rank in (1, 2, 3)},
    **{f"relax.nn.conv{rank}d_transpose": transposed_convolution for rank in (1, 2, 3)},
    "relax.matmul": matmul,
    "relax.einsum": einsum,
    "relax.outer": outer,
    "relax.nn.attention": attention,
    "relax.nn.attention_bias": attention,
}
