"""Kernels of small models, and what they compute on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm.target import Target

from support.onnx_models import onnx_model
from tvm_prune.frontend import load
from tvm_prune.transform import inference_form
from tvm_prune.tuning import Workload, default_schedule, kernel_calls, lower, tile_slots
from tvm_prune.tuning.traces import with_tilings

HOST = Target({"kind": "llvm", "num-cores": 1})
M7 = Target(
    {"kind": "llvm", "mtriple": "thumbv7em-none-eabihf", "mcpu": "cortex-m7", "num-cores": 1}
)

CHANNELS = 1
"""Index of the tile slot of a convolution's output channels; 0 is the batch."""


def channel_tiled(workload: Workload, target: Target, channels: Sequence[int]) -> Any:
    """The trace of a convolution's default schedule, with other tiles of the output channels."""
    trace = default_schedule(workload, target).trace
    tilings = [slot.factors for slot in tile_slots(trace)]
    tilings[CHANNELS] = tuple(channels)
    return with_tilings(trace, tilings)


def workloads(body: str, weights: dict[str, Any], target: Target = M7) -> list[Workload]:
    """Kernels of an ONNX model, in program order."""
    model = load(onnx_model(body, weights))
    return [call.workload for call in kernel_calls(lower(inference_form(model), target))]


def run(mod: tvm.IRModule, workload: Workload) -> list[np.ndarray[Any, Any]]:
    """Arguments of a kernel, results among them, after it ran."""
    generator = np.random.default_rng(0)
    arguments = [
        tvm.runtime.tensor(generator.standard_normal(shape).astype(dtype))
        for dtype, shape in workload.arguments
    ]
    tvm.tirx.build(mod, target=HOST)["main"](*arguments)
    return [argument.numpy() for argument in arguments]


def outputs(mod: tvm.IRModule, workload: Workload, target: Target) -> np.ndarray[Any, Any]:
    """What a kernel writes to its last argument; what it leaves out is not a number."""
    generator = np.random.default_rng(0)
    *inputs, (dtype, shape) = workload.arguments
    tensors = [
        tvm.runtime.tensor(generator.standard_normal(each).astype(kind)) for kind, each in inputs
    ]
    result = tvm.runtime.tensor(np.full(shape, np.nan, dtype))
    tvm.tirx.build(mod, target=target)["main"](*tensors, result)
    return result.numpy()  # type: ignore[no-any-return]
