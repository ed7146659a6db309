"""Latency of every kernel at every width, learned from measurements on the board."""

from __future__ import annotations

from tvm_prune.latency.active import MOST_MEASUREMENTS, ActiveSampler, Effort
from tvm_prune.latency.collect import Collector
from tvm_prune.latency.contest import Contest, program_digest
from tvm_prune.latency.correction import Correction
from tvm_prune.latency.families import Family, find_families
from tvm_prune.latency.fitter import LatencyFitter
from tvm_prune.latency.model import LatencyModel, ModelError, known
from tvm_prune.latency.model_file import load_model, names_of, save_model
from tvm_prune.latency.records import RecordKey, Records, open_records
from tvm_prune.latency.samples import Kernel, Sample, kernels_at
from tvm_prune.latency.sampling import friendly_widths, friendly_widths_near, sample_widths
from tvm_prune.latency.surroundings import Surroundings, WholeModel, contrasting_widths
from tvm_prune.latency.templates import Lowering, Widths

__all__ = [
    "MOST_MEASUREMENTS",
    "ActiveSampler",
    "Collector",
    "Contest",
    "Correction",
    "Effort",
    "Family",
    "Kernel",
    "LatencyFitter",
    "LatencyModel",
    "Lowering",
    "ModelError",
    "RecordKey",
    "Records",
    "Sample",
    "Surroundings",
    "WholeModel",
    "Widths",
    "contrasting_widths",
    "find_families",
    "friendly_widths",
    "friendly_widths_near",
    "kernels_at",
    "known",
    "load_model",
    "names_of",
    "open_records",
    "program_digest",
    "sample_widths",
    "save_model",
]
