"""The matrix product that many tests compile."""

from __future__ import annotations

from typing import Any

import tvm

from tvm_prune.board_check import matrix_product
from tvm_prune.tuning import default_schedule, kernel_calls, lower, with_schedules


def scheduled_matmul(size: int, target: Any) -> tvm.IRModule:
    """Lowered for a target, with its kernel scheduled."""
    lowered = lower(matrix_product(size), target)
    [call] = kernel_calls(lowered)
    return with_schedules(lowered, {call.name: default_schedule(call.workload, target)})


def matmul_kernel(size: int, target: Any) -> tvm.IRModule:
    """Its scheduled kernel, as a module of its own."""
    [call] = kernel_calls(scheduled_matmul(size, target))
    return call.workload.mod
