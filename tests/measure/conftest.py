from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.target import Target

from tvm_prune.board import load_board
from tvm_prune.tuning import default_schedule, kernel_calls, lower, with_schedules

MatmulModule = Callable[[int], tvm.IRModule]


@pytest.fixture(scope="session")
def target() -> Target:
    return load_board("host").tvm_target()


@pytest.fixture(scope="session")
def lowered_matmul(target: Target) -> MatmulModule:
    def build(size: int) -> tvm.IRModule:
        """A lowered module that multiplies `left` and `right`, squares of `size`."""
        builder = relax.BlockBuilder()
        kind = relax.TensorType((size, size), "float32")
        left, right = relax.Var("left", kind), relax.Var("right", kind)
        with builder.function("main", [left, right]):
            with builder.dataflow():
                product = builder.emit_output(relax.op.matmul(left, right))
            builder.emit_func_output(product)
        return lower(builder.get(), target)

    return build


@pytest.fixture(scope="session")
def matmul(lowered_matmul: MatmulModule, target: Target) -> MatmulModule:
    """The same module with its kernel scheduled."""

    def build(size: int) -> tvm.IRModule:
        lowered = lowered_matmul(size)
        [call] = kernel_calls(lowered)
        return with_schedules(lowered, {call.name: default_schedule(call.workload, target)})

    return build


@pytest.fixture(scope="session")
def kernel(matmul: MatmulModule) -> Callable[[int], tvm.IRModule]:
    """The scheduled kernel of a matmul, as a module of its own."""

    def build(size: int) -> tvm.IRModule:
        [call] = kernel_calls(matmul(size))
        return call.workload.mod

    return build


@pytest.fixture(scope="session")
def library(matmul: MatmulModule, target: Target, tmp_path_factory) -> Callable[[int], Path]:
    def export(size: int) -> Path:
        path = tmp_path_factory.mktemp("library") / "model.so"
        tvm.compile(matmul(size), target).export_library(str(path))
        return path

    return export


@pytest.fixture(scope="session")
def squares() -> Callable[[int], dict[str, np.ndarray]]:
    def build(size: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng(0)
        return {
            name: random.standard_normal((size, size)).astype("float32")
            for name in ("left", "right")
        }

    return build
