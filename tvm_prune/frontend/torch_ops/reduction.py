"""Reductions that TVM does not translate."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax

from tvm_prune.errors import ModelError
from tvm_prune.frontend.torch_ops.arguments import Converter, arguments_of, shape_of


def extremum(reduce: Any) -> Converter:
    """Largest or smallest value along some axes, or all."""

    def convert(node: Any, importer: Any) -> Any:
        data, axes, keep = arguments_of(node, importer, "self dim keepdim")
        return importer.block_builder.emit(reduce(data, list(axes) if axes else None, bool(keep)))

    return convert


def extremum_and_index(reduce: Any, search: Any) -> Converter:
    """Largest or smallest value along an axis, and where it is."""

    def convert(node: Any, importer: Any) -> Any:
        data, axis, keep = arguments_of(node, importer, "self dim keepdim")
        emit = importer.block_builder.emit
        values = emit(reduce(data, axis, bool(keep)))
        return emit(relax.Tuple([values, emit(search(data, axis, bool(keep)))]))

    return convert


def variance(node: Any, importer: Any) -> Any:
    """Variance with torch's correction of the divisor."""
    data, axes, correction, keep = arguments_of(node, importer, "self dim correction keepdim")
    return _variance(importer, data, axes, correction, keep)


def deviation(node: Any, importer: Any) -> Any:
    """Standard deviation with torch's correction of the divisor."""
    return importer.block_builder.emit(relax.op.sqrt(variance(node, importer)))


def variance_and_mean(node: Any, importer: Any) -> Any:
    """Both at once."""
    data, axes, correction, keep = arguments_of(node, importer, "self dim correction keepdim")
    emit = importer.block_builder.emit
    mean = emit(relax.op.mean(data, list(axes) if axes else None, bool(keep)))
    return emit(relax.Tuple([_variance(importer, data, axes, correction, keep), mean]))


def _variance(importer: Any, data: Any, axes: Any, correction: Any, keep: Any) -> Any:
    emit, shape = importer.block_builder.emit, shape_of(data)
    reduced = list(axes) if axes else list(range(len(shape)))
    count = math.prod(shape[axis] for axis in reduced)
    factor = count / (count - (1 if correction is None else correction))
    biased = emit(relax.op.variance(data, reduced, bool(keep)))
    return emit(relax.op.multiply(biased, relax.const(factor, data.ty.dtype)))


def adaptive_max_pool2d(node: Any, importer: Any) -> Any:
    """Adaptive max pooling where the windows are all alike."""
    data, size = arguments_of(node, importer, "self output_size")
    spatial, emit = shape_of(data)[-2:], importer.block_builder.emit
    if any(extent % wanted for extent, wanted in zip(spatial, size, strict=True)):
        raise ModelError(
            f"adaptive_max_pool2d from {spatial} to {list(size)} needs windows of different "
            "sizes, which TVM does not know; choose sizes that divide."
        )
    window = [extent // wanted for extent, wanted in zip(spatial, size, strict=True)]
    pooled = emit(relax.op.nn.max_pool2d(data, window, window))
    return emit(relax.Tuple([pooled]))
