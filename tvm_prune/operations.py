"""How much a model computes: multiply-accumulates of its convolutions and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import IRModule, relax


def multiply_accumulates(module: IRModule, function_name: str = "main") -> int:
    """Multiply-accumulates of one call of a Relax function with static shapes.

    Counted are the ops that contract an axis: convolutions, matrix products, einsum, attention.
    """
    total = 0
    for block in module[function_name].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call):
                count = COUNTS.get(getattr(binding.value.op, "name", ""))
                total += count(binding.value) if count else 0
    return total


def _shape(expr: Any) -> list[int]:
    return [int(extent) for extent in expr.ty.shape.values]


def _convolution(call: Any) -> int:
    weight = _shape(call.args[1])
    outputs = weight[str(call.attrs.kernel_layout).index("O")]
    return math.prod(_shape(call)) * math.prod(weight) // outputs


def _transposed_convolution(call: Any) -> int:
    weight = _shape(call.args[1])
    inputs = weight[str(call.attrs.kernel_layout).index("I")]
    return math.prod(_shape(call.args[0])) * math.prod(weight) // inputs


def _matmul(call: Any) -> int:
    return math.prod(_shape(call)) * _shape(call.args[0])[-1]


def _einsum(call: Any) -> int:
    operands = call.attrs.subscripts.replace(" ", "").partition("->")[0].split(",")
    extents: dict[str, int] = {}
    for names, operand in zip(operands, call.args[0].fields, strict=True):
        extents |= zip(names, _shape(operand), strict=True)
    return math.prod(extents.values())


def _attention(call: Any) -> int:
    batch, queries, heads, dims = _shape(call.args[0])
    keys, value_dims = _shape(call.args[1])[1], _shape(call.args[2])[3]
    return batch * queries * heads * keys * (dims + value_dims)


COUNTS: Mapping[str, Callable[[Any], int]] = {
    **{f"relax.nn.conv{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"relax.nn.conv{rank}d_transpose": _transposed_convolution for rank in (1, 2, 3)},
    "relax.matmul": _matmul,
    "relax.einsum": _einsum,
    "relax.nn.attention": _attention,
    "relax.nn.attention_bias": _attention,
}
