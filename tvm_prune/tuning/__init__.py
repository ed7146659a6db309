"""Kernels of a model: find schedules for them, keep them, use them at other widths."""

from tvm_prune.tuning.candidates import SearchSettings
from tvm_prune.tuning.database import best_record, count_trials, open_database
from tvm_prune.tuning.default import default_schedule
from tvm_prune.tuning.kernels import (
    KernelCall,
    Workload,
    kernel_calls,
    lower,
    with_schedules,
    workload_of,
)
from tvm_prune.tuning.report import FailureCount, KernelReport, TuningProgress, TuningReport
from tvm_prune.tuning.search import tune
from tvm_prune.tuning.tiling import closest_tiling
from tvm_prune.tuning.traces import (
    TileSlot,
    knobs,
    tile_slots,
    trace_from_json,
    trace_to_json,
)
from tvm_prune.tuning.transfer import transfer, tuned_trace

__all__ = [
    "FailureCount",
    "KernelCall",
    "KernelReport",
    "SearchSettings",
    "TileSlot",
    "TuningProgress",
    "TuningReport",
    "Workload",
    "best_record",
    "closest_tiling",
    "count_trials",
    "default_schedule",
    "kernel_calls",
    "knobs",
    "lower",
    "open_database",
    "tile_slots",
    "trace_from_json",
    "trace_to_json",
    "transfer",
    "tune",
    "tuned_trace",
    "with_schedules",
    "workload_of",
]
