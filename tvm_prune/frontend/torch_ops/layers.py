"""Slices, resizing and layers that TVM translates in a form that hides channels, or not at all."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax

from tvm_prune.frontend.torch_ops.arguments import arguments_of, shape_of


def select(node: Any, importer: Any) -> Any:
    """One position of an axis, as a slice, so that the labels of the other axes pass."""
    data, dim, index = arguments_of(node, importer, "self dim index")
    shape = shape_of(data)
    axis, start = dim % len(shape), index % shape[dim]
    sliced = importer.block_builder.emit(
        relax.op.strided_slice(data, [axis], [start], [start + 1], [1])
    )
    return importer.block_builder.emit(relax.op.squeeze(sliced, [axis]))


def upsample_nearest(node: Any, importer: Any) -> Any:
    """Nearest neighbour as torch counts: the source index is rounded down, without half pixels."""
    data, size, scales = arguments_of(node, importer, "input output_size scale_factors")
    spatial = shape_of(data)[2:]
    target = size or [math.floor(e * s) for e, s in zip(spatial, scales, strict=True)]
    return importer.block_builder.emit(
        relax.op.image.resize2d(
            data,
            tuple(int(extent) for extent in target),
            layout="NCHW",
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        )
    )


def prelu(node: Any, importer: Any) -> Any:
    """PReLU; one slope for all channels multiplies every one of them."""
    data, slope = arguments_of(node, importer, "self weight")
    if shape_of(slope) == [1] and len(shape_of(data)) > 1 and shape_of(data)[1] != 1:
        emit = importer.block_builder.emit
        zero = relax.const(0, data.ty.dtype)
        negative = emit(relax.op.multiply(slope, emit(relax.op.minimum(data, zero))))
        return emit(relax.op.add(emit(relax.op.nn.relu(data)), negative))
    axis = 0 if len(shape_of(data)) == 1 else 1
    return importer.block_builder.emit(relax.op.nn.prelu(data, slope, axis))


def conv_transpose3d(node: Any, importer: Any) -> Any:
    """Transposed convolution over volumes, which TVM does not translate."""
    names = "input weight bias stride padding output_padding groups dilation"
    data, weight, bias, *rest = arguments_of(node, importer, names)
    stride, padding, output_padding, groups, dilation = (
        default if value is None else value
        for value, default in zip(rest, (1, 0, 0, 1, 1), strict=True)
    )
    emit = importer.block_builder.emit
    result = emit(
        relax.op.nn.conv3d_transpose(
            data,
            weight,
            strides=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
        )
    )
    if bias is None:
        return result
    return emit(relax.op.add(result, emit(relax.op.reshape(bias, [1, -1, 1, 1, 1]))))
