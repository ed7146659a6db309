"""Kernels that benchmarks tune, and the target of this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.target import Target

from tvm_prune.board import load_board
from tvm_prune.tuning import Workload, kernel_calls, lower


def host_target() -> Any:
    """TVM target of this machine."""
    return load_board("host").tvm_target()


def conv_workload(
    target: Target, inputs: int, outputs: int, size: int, *, kernel: int = 3
) -> Workload:
    """A fused convolution, bias and ReLU: NCHW, float32, batch 1, stride 1, same padding.

    Args:
        target: what to lower for.
        inputs: input channels.
        outputs: output channels.
        size: height and width of the image.
        kernel: height and width of the window, odd.
    """
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, inputs, size, size), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            weight = _constant(outputs, inputs, kernel, kernel)
            convolved = builder.emit(relax.op.nn.conv2d(data, weight, padding=kernel // 2))
            biased = builder.emit(relax.op.add(convolved, _constant(1, outputs, 1, 1)))
            result = builder.emit_output(relax.op.nn.relu(biased))
        builder.emit_func_output(result)
    [call] = kernel_calls(lower(builder.get(), target))
    return call.workload


def _constant(*shape: int) -> Any:
    return relax.const(np.ones(shape, "float32"))
