"""Attention as one op, heads on an axis of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, tirx

from tvm_prune.channels.labels import TensorLabels
from tvm_prune.channels.ops.elementwise import broadcast
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite


def attention(call: OpCall) -> TensorLabels:
    """Query, key and value share heads; query and key share dimensions; values give the result's.

    A key head goes with all the query heads that share it; a bias follows the heads. Tokens that
    are attended to stay, with a causal mask all tokens. The scores are scaled as in the dense
    model, whatever number of dimensions is left.
    """
    query, key, value = (call.tensor(index) for index in range(3))
    call.freeze(key[1], "is attended to")
    call.tie(key[1], value[1])
    if call.attrs.causal_mask:
        call.freeze(query[1], "is masked by position")
    call.tie(query[3], key[3])
    for shared in (key, value):
        call.tie(query[0], shared[0])
        call.tie(query[2], np.repeat(shared[2], query[2].size // shared[2].size))
    if len(call.inputs) > 3:
        broadcast(call, [(query[0], query[2], query[1], key[1]), call.tensor(3)])
    return (*query[:3], value[3])


def rewrite_attention(rewrite: Rewrite) -> Any:
    """The same attention, with the scale of the dense model."""
    return _attention(rewrite, rewrite.arguments)


def masked_attention(rewrite: Rewrite) -> Any:
    """Scores from the dimensions that stay: zeros in place of the others in the query."""
    query, *others = rewrite.arguments
    kept = rewrite.mask(rewrite.inputs[0][3]) & rewrite.mask(rewrite.inputs[1][3])
    zeroed = relax.op.where(relax.const(kept), query, relax.const(0, query.ty.dtype))
    return _attention(rewrite, [query if kept.all() else zeroed, *others])


def _attention(rewrite: Rewrite, arguments: list[Any]) -> Any:
    attrs = rewrite.attrs
    query, key, value, *bias = arguments
    dimensions = rewrite.inputs[0][3].size
    scale = attrs.scale or tirx.FloatImm("float32", dimensions**-0.5)
    return relax.op.nn.attention(
        query, key, value, *(bias or [None]), scale, attrs.causal_mask, attrs.window_size
    )


ATTENTION: OpTable = {
    name: OpRule(attention, rewrite_attention, masked_attention)
    for name in ("relax.nn.attention", "relax.nn.attention_bias")
}
