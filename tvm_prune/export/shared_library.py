"""A compiled model as one shared library that TVM's runtime loads, on this machine or over RPC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import IRModule, relax
from tvm.support import cc

from tvm_prune.errors import PruneError


def export_shared_library(
    scheduled: IRModule, target: Any, path: Path, linker: str | None = None
) -> None:
    """Compile a lowered module whose kernels are scheduled, weights included.

    Args:
        scheduled: result of :func:`tvm_prune.tuning.with_schedules`.
        target: what to compile for.
        path: where the library goes.
        linker: compiler driver that links for the target; this machine's C++ compiler by default.

    Raises:
        PruneError: if there is no compiler driver to link the library.
    """
    pipeline = tvm.transform.Sequential([relax.transform.DeadCodeElimination(), _build_pipeline()])
    executable = tvm.compile(scheduled, target=target, relax_pipeline=pipeline)
    compiler = None if linker is None else cc.cross_compiler(linker)
    try:
        executable.export_library(str(path), fcompile=compiler)
    except (RuntimeError, OSError) as error:
        told = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        raise PruneError(
            f"Cannot link {path.name}: {told}. Linking needs a C++ compiler: "
            f"{linker or '`apt-get install g++` on Debian'}."
        ) from error


def _build_pipeline() -> Any:
    return relax.pipeline.default_build_pipeline()
