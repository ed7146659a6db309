"""Scaled dot-product attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from tvm_prune.frontend.torch_ops.arguments import arguments_of, shape_of


def _axes_swapped(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def attention(node: Any, importer: Any) -> Any:
    """Scaled dot-product attention as the matrix products and the softmax that it is.

    The scale is a constant: removing dimensions of the heads must not change it. TVM's own
    translation drops the scale, and its fused op is one kernel that cannot be tuned in parts.
    """
    names = "query key value attn_mask dropout_p is_causal scale enable_gqa"
    query, key, value, mask, _, is_causal, scale, _ = arguments_of(node, importer, names)
    emit = importer.block_builder.emit
    key, value = (_repeated_heads(tensor, query, emit) for tensor in (key, value))
    factor = relax.const(scale or 1 / math.sqrt(shape_of(query)[-1]), query.ty.dtype)
    transposed = emit(relax.op.permute_dims(key, _axes_swapped(len(shape_of(key)))))
    scores = emit(relax.op.matmul(query, transposed))
    scores = emit(relax.op.multiply(scores, factor))
    if is_causal:
        rows, columns = shape_of(scores)[-2:]
        visible = np.tri(rows, columns).astype(bool)
        scores = _masked(scores, relax.const(visible, "bool"), emit)
    if mask is not None:
        is_bool = str(mask.ty.dtype) == "bool"
        scores = _masked(scores, mask, emit) if is_bool else emit(relax.op.add(scores, mask))
    return emit(relax.op.matmul(emit(relax.op.nn.softmax(scores, axis=-1)), value))


def _masked(scores: Any, visible: Any, emit: Callable[[Any], Any]) -> Any:
    return emit(relax.op.where(visible, scores, relax.const(-np.inf, scores.ty.dtype)))


def _repeated_heads(tensor: Any, query: Any, emit: Callable[[Any], Any]) -> Any:
    """Grouped-query attention: each head of keys and values serves several heads of queries."""
    shape, heads = shape_of(tensor), shape_of(query)[-3:-2]
    if len(shape) < 3 or shape[-3] == heads[0]:
        return tensor
    repeats = heads[0] // shape[-3]
    axis = len(shape) - 2
    wide = [*shape[:axis], repeats, *shape[axis:]]
    spread = emit(relax.op.broadcast_to(emit(relax.op.expand_dims(tensor, axis)), wide))
    return emit(relax.op.reshape(spread, [*shape[:-3], heads[0], *shape[-2:]]))
