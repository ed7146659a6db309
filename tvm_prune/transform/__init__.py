"""Passes over Relax modules, one a file."""

from __future__ import annotations

from tvm_prune.transform.inference_form import inference_form
from tvm_prune.transform.prune_channels import PruneChannels, mask_parameters, prune_parameters
from tvm_prune.transform.schedule_kernels import ScheduleKernels

__all__ = [
    "PruneChannels",
    "ScheduleKernels",
    "inference_form",
    "mask_parameters",
    "prune_parameters",
]
