"""Ops that make a tensor from nothing but a shape."""

from __future__ import annotations

from typing import Any

from tvm import relax

from tvm_prune.channels.labels import TensorLabels, frozen_axis
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite


def filled(call: OpCall) -> TensorLabels:
    """Every axis gets labels of its own: what consumes it decides whether it may shrink."""
    return tuple(call.space.stretched_axis(int(extent)) for extent in call.call.ty.shape.values)


def rewrite_filled(rewrite: Rewrite) -> Any:
    """The same values in the extents that are left."""
    arguments = [relax.ShapeExpr(rewrite.extents(rewrite.output)), *rewrite.arguments[1:]]
    return relax.Call(rewrite.call.op, arguments, rewrite.attrs)


def counted(call: OpCall) -> TensorLabels:
    """A new tensor.

    Every axis stays: the values depend on the position.
    """
    return tuple(frozen_axis(int(extent)) for extent in call.call.ty.shape.values)


CREATION: OpTable = {
    **{f"relax.{name}": OpRule(filled, rewrite_filled) for name in ("full", "zeros", "ones")},
    **{f"relax.{name}": OpRule(counted) for name in ("arange", "eye", "hamming_window")},
}
