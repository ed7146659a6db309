"""Norms whose weights may be missing, which TVM's own translations need."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_prune.frontend.torch_ops.arguments import arguments_of, shape_of


def _affine(weight: Any, bias: Any, shape: list[int], dtype: Any) -> tuple[Any, Any]:
    """Scale and shift of a normalization; torch leaves either out."""
    scale = relax.const(np.ones(shape), dtype) if weight is None else weight
    shift = relax.const(np.zeros(shape), dtype) if bias is None else bias
    return scale, shift


def layer_norm(node: Any, importer: Any) -> Any:
    """Layer norm; TVM's translation needs weight and bias."""
    names = "input normalized_shape weight bias eps"
    data, shape, weight, bias, eps = arguments_of(node, importer, names)
    scale, shift = _affine(weight, bias, list(shape), data.ty.dtype)
    axes = list(range(-len(shape), 0))
    return importer.block_builder.emit(
        relax.op.nn.layer_norm(data, scale, shift, axes, 1e-5 if eps is None else eps)
    )


def rms_norm(node: Any, importer: Any) -> Any:
    """Root mean square norm in one op; decomposed, its mean would freeze the channels."""
    data, shape, weight, eps = arguments_of(node, importer, "input normalized_shape weight eps")
    scale, _ = _affine(weight, None, list(shape), data.ty.dtype)
    epsilon = float(np.finfo("float32").eps) if eps is None else eps
    axes = list(range(-len(shape), 0))
    return importer.block_builder.emit(relax.op.nn.rms_norm(data, scale, axes, epsilon))


def group_norm(node: Any, importer: Any) -> Any:
    """Group norm; TVM's translation needs weight and bias."""
    data, groups, weight, bias, eps = arguments_of(
        node, importer, "input num_groups weight bias eps"
    )
    shape = shape_of(data)
    scale, shift = _affine(weight, bias, shape[1:2], data.ty.dtype)
    return importer.block_builder.emit(
        relax.op.nn.group_norm(
            data,
            scale,
            shift,
            num_groups=groups,
            channel_axis=1,
            axes=list(range(2, len(shape))),
            epsilon=1e-5 if eps is None else eps,
        )
    )


def instance_norm(node: Any, importer: Any) -> Any:
    """Instance norm; in eval mode one that tracks statistics is a batch norm."""
    names = "input weight bias mean variance use_input_stats momentum eps"
    data, weight, bias, mean, variance, own_statistics, _, eps = arguments_of(node, importer, names)
    shape, emit = shape_of(data), importer.block_builder.emit
    scale, shift = _affine(weight, bias, shape[1:2], data.ty.dtype)
    if own_statistics:
        axes = list(range(2, len(shape)))
        return emit(relax.op.nn.instance_norm(data, scale, shift, 1, axes, eps))
    normed = emit(
        relax.op.nn.batch_norm(
            data, scale, shift, mean, variance, axis=1, epsilon=eps, training=False
        )
    )
    return emit(normed[0])
