import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
from support.matmul import matmul_kernel, scheduled_matmul
from tvm.target import Target

from tvm_prune.board import load_board
from tvm_prune.board_check import matrix_product
from tvm_prune.tuning import lower

MatmulModule = Callable[[int], tvm.IRModule]


@pytest.fixture(scope="session")
def target() -> Target:
    return load_board("host").tvm_target()


@pytest.fixture(scope="session")
def lowered_matmul(target: Target) -> MatmulModule:
    def build(size: int) -> tvm.IRModule:
        """A lowered module that multiplies `left` and `right`, squares of `size`."""
        return lower(matrix_product(size), target)

    return build


@pytest.fixture(scope="session")
def matmul(target: Target) -> MatmulModule:
    """The same module with its kernel scheduled."""
    return functools.partial(scheduled_matmul, target=target)


@pytest.fixture(scope="session")
def kernel(target: Target) -> Callable[[int], tvm.IRModule]:
    """The scheduled kernel of a matmul, as a module of its own."""
    return functools.partial(matmul_kernel, target=target)


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
