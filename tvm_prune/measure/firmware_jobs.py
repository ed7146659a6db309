"""What a worker does for a microcontroller: compile a kernel to the files of a C model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tvm
from tvm.target import Target

from tvm_prune.mcu import kernel_c_model


def compile_kernel(mod: tvm.IRModule, target: Mapping[str, Any]) -> dict[str, bytes]:
    """Compile one scheduled PrimFunc ``main``.

    Args:
        mod: the kernel.
        target: JSON form of the board's LLVM target.

    Returns:
        Files of a C model, by name.
    """
    return dict(kernel_c_model(mod, Target(dict(target))).files)
