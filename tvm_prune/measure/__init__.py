"""Boards that tell what code costs."""

from tvm_prune.measure.batches import run_executable_batches
from tvm_prune.measure.executable import measure_executable, measure_interleaved, run_executable
from tvm_prune.measure.jobs import Repeats
from tvm_prune.measure.local import LocalMeasurer

MEASURERS = {"local": LocalMeasurer}

__all__ = [
    "MEASURERS",
    "LocalMeasurer",
    "Repeats",
    "measure_executable",
    "measure_interleaved",
    "run_executable",
    "run_executable_batches",
]
