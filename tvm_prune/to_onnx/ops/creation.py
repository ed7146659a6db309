"""Tensors that are filled with numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm.ir import GenericConst

from tvm_prune.to_onnx.graph import tensor
from tvm_prune.to_onnx.rule import ConverterTable, OpExport


def filled(export: OpExport, value: float) -> str:
    """A tensor of one number."""
    dtype = np.dtype(export.result_dtype)
    return _of_shape(export, np.full(1, value, dtype=dtype))


def _of_shape(export: OpExport, value: np.ndarray[Any, np.dtype[Any]]) -> str:
    shape = export.ints(export.result_shape, "shape")
    return export.emit("ConstantOfShape", shape, value=tensor("value", value))


def full(export: OpExport) -> str:
    """A tensor of one value, constant or computed."""
    value = export.args[1]
    if isinstance(value, GenericConst):
        number = np.asarray(value.value.numpy()).reshape(1)
        return _of_shape(export, number.astype(export.result_dtype))
    scalar = export.cast(export.value(value), export.dtype(1), export.result_dtype)
    return export.emit("Expand", scalar, export.ints(export.result_shape, "shape"))


def _number(expr: Any) -> float:
    number: float = expr.value
    return number


def arange(export: OpExport) -> str:
    """Evenly spaced numbers."""
    values = np.arange(*(_number(arg) for arg in export.args), dtype=export.result_dtype)
    return export.constant(values)


def eye(export: OpExport) -> str:
    """Ones on one diagonal."""
    rows, columns, offset = (int(_number(arg)) for arg in export.args)
    return export.constant(np.eye(rows, columns, offset, dtype=export.result_dtype))


def hamming_window(export: OpExport) -> str:
    """A raised cosine over a whole period, or one that ends where it began."""
    size, periodic, alpha, beta = (_number(arg) for arg in export.args)
    angles = 2 * np.pi * np.arange(int(size)) / (size if periodic else size - 1)
    return export.constant((alpha - beta * np.cos(angles)).astype(export.result_dtype))


CREATION: ConverterTable = {
    "relax.full": full,
    "relax.full_like": full,
    "relax.zeros": partial(filled, value=0.0),
    "relax.zeros_like": partial(filled, value=0.0),
    "relax.ones": partial(filled, value=1.0),
    "relax.ones_like": partial(filled, value=1.0),
    "relax.arange": arange,
    "relax.eye": eye,
    "relax.hamming_window": hamming_window,
}
