"""How much a model computes: multiply-accumulates of its convolutions and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from tvm import IRModule, relax

Axis: TypeAlias = tuple[Any, int]
"""A value of a function, and the position of one of its axes."""

Contraction: TypeAlias = tuple[Axis, ...]
"""Axes whose extents multiplied are the multiply-accumulates of an op, or of a part of it."""


def multiply_accumulates(module: IRModule, function_name: str = "main") -> int:
    """Multiply-accumulates of one call of a Relax function with static shapes.

    Counted are the ops that contract an axis: convolutions, matrix products, einsum, attention.
    """
    return sum(
        math.prod(extent(axis) for axis in contraction)
        for contraction in contractions(module, function_name)
    )


def contractions(module: IRModule, function_name: str = "main") -> Iterator[Contraction]:
    """What the ops of a Relax function contract, in program order."""
    for block in module[function_name].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call):
                rule = CONTRACTIONS.get(getattr(binding.value.op, "name", ""))
                yield from rule(binding.value, binding.var) if rule else ()


def extent(axis: Axis) -> int:
    """Number of positions of an axis."""
    value, position = axis
    return int(value.ty.shape.values[position])


def _axes(value: Any, without: int | None = None) -> Contraction:
    rank = len(value.ty.shape.values)
    return tuple((value, position) for position in range(rank) if position != without)


def _convolution(call: Any, result: Any) -> list[Contraction]:
    outputs = str(call.attrs.kernel_layout).index("O")
    return [(*_axes(result), *_axes(call.args[1], without=outputs))]


def _transposed_convolution(call: Any, _result: Any) -> list[Contraction]:
    inputs = str(call.attrs.kernel_layout).index("I")
    return [(*_axes(call.args[0]), *_axes(call.args[1], without=inputs))]


def _matmul(call: Any, result: Any) -> list[Contraction]:
    return [(*_axes(result), _axes(call.args[0])[-1])]


def _einsum(call: Any, _result: Any) -> list[Contraction]:
    operands = call.attrs.subscripts.replace(" ", "").partition("->")[0].split(",")
    axes: dict[str, Axis] = {}
    for names, operand in zip(operands, call.args[0].fields, strict=True):
        axes |= zip(names, _axes(operand), strict=True)
    return [tuple(axes.values())]


def _attention(call: Any, _result: Any) -> list[Contraction]:
    queries, keys, values = call.args[:3]
    batch, positions, heads, dims = _axes(queries)
    shared = (batch, positions, heads, (keys, 1))
    return [(*shared, dims), (*shared, (values, 3))]


CONTRACTIONS: Mapping[str, Callable[[Any, Any], list[Contraction]]] = {
    **{f"relax.nn.conv{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"relax.nn.conv{rank}d_transpose": _transposed_convolution for rank in (1, 2, 3)},
    "relax.matmul": _matmul,
    "relax.einsum": _einsum,
    "relax.nn.attention": _attention,
    "relax.nn.attention_bias": _attention,
}
"""By name of the op: what a call of it contracts, given the call and the variable it binds."""
