"""The pass that schedules every kernel of a lowered module from tuned traces, without searching."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import IRModule

from tvm_prune.errors import TransferError
from tvm_prune.tuning import (
    Workload,
    default_schedule,
    kernel_calls,
    open_database,
    transfer,
    tuned_trace,
    with_schedules,
)


@tvm.transform.module_pass(opt_level=0, name="ScheduleKernels")
class ScheduleKernels:
    """Schedule each kernel by its own tuned trace, the nearest one that applies, or by rule.

    Args:
        cache: directory that ``tvm-prune`` keeps tuned schedules in; without it, every kernel gets
            the default schedule.
    """

    def __init__(self, cache: str | Path | None = None) -> None:
        self.cache = cache

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with scheduled kernels."""
        target = tvm.target.Target.current()
        databases = [open_database(path) for path in _folders(self.cache)]
        scheduled = {
            call.name: _schedule(call.workload, databases, target) for call in kernel_calls(module)
        }
        return with_schedules(module, scheduled)


def _folders(cache: str | Path | None) -> list[Path]:
    if cache is None:
        return []
    return sorted(path.parent for path in Path(cache).glob("*/database_tuning_record.json"))


def _schedule(workload: Workload, databases: Sequence[Any], target: Any) -> Any:
    for database in databases:
        if trace := tuned_trace(database, workload, target):
            return transfer(trace, workload, target)
    for other, database in _nearest(workload, databases):
        trace = tuned_trace(database, other, target)
        if trace is None:
            continue
        try:
            return transfer(trace, workload, target)
        except TransferError:
            continue
    return default_schedule(workload, target)


def _nearest(workload: Workload, databases: Sequence[Any]) -> list[tuple[Workload, Any]]:
    """Tuned workloads whose arguments have the same ranks, the closest extents first."""
    found = {}
    for database in databases:
        for record in database.get_all_tuning_records():
            other = Workload(record.workload.mod)
            if _ranks(other) == _ranks(workload):
                found[other.key] = (other, database)
    return sorted(found.values(), key=lambda entry: _distance(entry[0], workload))


def _ranks(workload: Workload) -> list[tuple[str, int]]:
    return [(dtype, len(shape)) for dtype, shape in workload.arguments]


def _distance(one: Workload, other: Workload) -> float:
    pairs = zip(one.arguments, other.arguments, strict=True)
    return sum(
        abs(math.log(left / right))
        for (_, shape), (_, other_shape) in pairs
        for left, right in zip(shape, other_shape, strict=True)
    )
