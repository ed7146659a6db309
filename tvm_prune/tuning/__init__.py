"""Kernels of a model: find schedules for them, keep them, use them at other widths."""

from tvm_prune.tuning.candidates import SearchSettings
from tvm_prune.tuning.database import best_record, count_trials, open_database, sole_writer
from tvm_prune.tuning.default import default_schedule
from tvm_prune.tuning.kernels import (
    KernelCall,
    Workload,
    kernel_calls,
    lower,
    with_schedules,
    workload_of,
)
from tvm_prune.tuning.library import TraceLibrary, TunedTrace, seed_library, tuned_library
from tvm_prune.tuning.pad_places import folded, moved_padding, padding_blocks
from tvm_prune.tuning.padding import paddable_loops, padded
from tvm_prune.tuning.report import FailureCount, KernelReport, TuningProgress, TuningReport
from tvm_prune.tuning.search import tune
from tvm_prune.tuning.source import ScheduleSource, find_source
from tvm_prune.tuning.structure import structure_of
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
    "ScheduleSource",
    "SearchSettings",
    "TileSlot",
    "TraceLibrary",
    "TunedTrace",
    "TuningProgress",
    "TuningReport",
    "Workload",
    "best_record",
    "closest_tiling",
    "count_trials",
    "default_schedule",
    "find_source",
    "folded",
    "kernel_calls",
    "knobs",
    "lower",
    "moved_padding",
    "open_database",
    "paddable_loops",
    "padded",
    "padding_blocks",
    "seed_library",
    "sole_writer",
    "structure_of",
    "tile_slots",
    "trace_from_json",
    "trace_to_json",
    "transfer",
    "tune",
    "tuned_library",
    "tuned_trace",
    "with_schedules",
    "workload_of",
]
