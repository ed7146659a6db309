"""The pass that schedules every kernel of a lowered module from tuned traces, without searching."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import IRModule

from tvm_prune.tuning import (
    find_source,
    kernel_calls,
    open_database,
    seed_library,
    tuned_library,
    with_schedules,
)


@tvm.transform.module_pass(opt_level=0, name="ScheduleKernels")
class ScheduleKernels:
    """Schedule each kernel by its own tuned trace, by those of the nearest kernels, or by rule.

    The seed traces that come with the package are always there, so a module that was never tuned
    runs well too.

    Args:
        cache: directory that ``tvm-prune`` keeps tuned schedules in; without it, the seed traces
            are all there is.
    """

    def __init__(self, cache: str | Path | None = None) -> None:
        self.cache = cache

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with scheduled kernels."""
        target = tvm.target.Target.current()
        databases = [open_database(path) for path in _folders(self.cache)]
        library = seed_library(target)
        for database in databases:
            library = library.with_traces(tuned_library(database, target).traces)
        scheduled: dict[str, Any] = {}
        for call in kernel_calls(module):
            if call.name not in scheduled:
                source = find_source(call.workload, target, databases, library)
                scheduled[call.name] = source.schedule(call.workload, target)
        return with_schedules(module, scheduled)


def _folders(cache: str | Path | None) -> list[Path]:
    if cache is None:
        return []
    return sorted(path.parent for path in Path(cache).glob("*/database_tuning_record.json"))
