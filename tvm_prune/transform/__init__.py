"""Passes over Relax modules, one a file."""

from __future__ import annotations

from tvm_prune.transform.drop_blocks import Block, drop_block, find_blocks
from tvm_prune.transform.inference_form import inference_form
from tvm_prune.transform.mask_statistics import MaskStatistics, masked_model
from tvm_prune.transform.prune_channels import (
    PruneChannels,
    mask_parameters,
    prune_parameters,
    pruned_model,
)
from tvm_prune.transform.prune_weights import (
    PolynomialSchedule,
    PruneWeights,
    WeightKind,
    WeightThreshold,
    is_weight,
    prune_weights,
)
from tvm_prune.transform.schedule_kernels import ScheduleKernels

__all__ = [
    "Block",
    "MaskStatistics",
    "PolynomialSchedule",
    "PruneChannels",
    "PruneWeights",
    "ScheduleKernels",
    "WeightKind",
    "WeightThreshold",
    "drop_block",
    "find_blocks",
    "inference_form",
    "is_weight",
    "mask_parameters",
    "masked_model",
    "prune_parameters",
    "prune_weights",
    "pruned_model",
]
