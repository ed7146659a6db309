"""Build kernels: in processes of this machine, or wherever an executor runs its jobs."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol

import tvm
from tvm.target import Target

from tvm_prune.machine import core_count
from tvm_prune.measure import jobs
from tvm_prune.measure.farm import Farm, Lost
from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measurement import LOST, Artifact, Failure


class Workers(Protocol):
    """Something that runs jobs elsewhere; a job that fails does so alone."""

    def map(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]
    ) -> list[Any | Failed]:
        """Results of ``function(*job)`` in the jobs' order."""

    def close(self) -> None:
        """Stop the workers."""


class KernelBuilder:
    """Builds kernels; a kernel that crashes the compiler, or keeps it too long, fails alone.

    Args:
        target: LLVM target to compile for.
        linker: compiler driver that links for it; this machine's linker by default.
        executor: runs the builds; processes of this machine by default. It is not shut down.
        builders: number of those processes; all processors by default.
        timeout: seconds that one build may take.
    """

    def __init__(
        self,
        target: Target,
        *,
        linker: str | None = None,
        executor: Executor | None = None,
        builders: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._target: dict[str, Any] = json.loads(str(target))
        self._linker = linker
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-prune-")
        self._numbers: Iterator[int] = itertools.count()
        self._workers: Workers = (
            WorkerPool(
                builders or core_count(),
                timeout=timeout,
                imports=("tvm_prune.measure.jobs",),
            )
            if executor is None
            else Farm(executor, timeout=timeout)
        )

    def build(self, modules: Sequence[tvm.IRModule]) -> list[Artifact | Failure]:
        """Compile scheduled modules to shared libraries, each in a folder of its own."""
        arguments = [(module, self._target, self._linker) for module in modules]
        built = self._workers.map(jobs.build_kernel, arguments)
        return [
            self._outcome(result, module) for result, module in zip(built, modules, strict=True)
        ]

    def close(self) -> None:
        """Stop the processes and delete all artifacts."""
        self._workers.close()
        self._folder.cleanup()

    def _outcome(self, result: bytes | Failed, module: tvm.IRModule) -> Artifact | Failure:
        if isinstance(result, Failed):
            return Failure(LOST if isinstance(result, Lost) else "build", result.cause)
        path = Path(self._folder.name) / str(next(self._numbers)) / "kernel.so"
        path.parent.mkdir()
        path.write_bytes(result)
        return Artifact(path, arguments_of(module))


def arguments_of(module: tvm.IRModule) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Data type and shape of every parameter of the module's ``main``."""
    from tvm_prune.tuning.kernels import Workload

    return Workload(module).arguments
