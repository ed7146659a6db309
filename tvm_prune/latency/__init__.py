"""Latency of every kernel at every width, learned from measurements on the board."""

from __future__ import annotations

from tvm_prune.latency.families import Family, Lowering, ScheduleSource, Widths, find_families
from tvm_prune.latency.model import LatencyFitter, LatencyModel, ModelError, Sample
from tvm_prune.latency.records import RecordKey, Records, open_records
from tvm_prune.latency.sampling import friendly_widths, sample_widths

__all__ = [
    "Family",
    "LatencyFitter",
    "LatencyModel",
    "Lowering",
    "ModelError",
    "RecordKey",
    "Records",
    "Sample",
    "ScheduleSource",
    "Widths",
    "find_families",
    "friendly_widths",
    "open_records",
    "sample_widths",
]
