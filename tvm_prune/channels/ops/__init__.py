"""The op table: one row an op says how channel labels pass through it."""

from __future__ import annotations

from tvm_prune.channels.ops.contraction import CONTRACTION
from tvm_prune.channels.ops.elementwise import ELEMENTWISE
from tvm_prune.channels.ops.movement import MOVEMENT
from tvm_prune.channels.ops.reduction import REDUCTION
from tvm_prune.channels.rule import OpTable

OPS: OpTable = {**CONTRACTION, **ELEMENTWISE, **MOVEMENT, **REDUCTION}

__all__ = ["OPS"]
