"""Measure on this machine."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm.target import Target

from tvm_prune.measure import jobs
from tvm_prune.measure.jobs import Repeats
from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measurement import Artifact, Failure, Measurement

_LINK = ("ld", "-shared")
_LINK_WITH_DRIVER = ("cc", "-shared", "-nostdlib")


class LocalMeasurer:
    """Builds kernels in parallel processes and runs them, one at a time, in another process.

    Processes live as long as the measurer. A kernel that crashes, hangs or does not compile
    becomes a :class:`Failure` and costs one process, which is replaced.

    Args:
        target: LLVM target of this machine. Its ``num-cores`` is the size of the thread pool that
            kernels run with.
        builders: processes that compile; all processors by default.
        build_timeout: seconds that one build may take.
        run_timeout: seconds that the measuring of one kernel may take.
        repeats: how long each kernel is run.
    """

    def __init__(
        self,
        target: Target,
        *,
        builders: int | None = None,
        build_timeout: float = 60.0,
        run_timeout: float = 20.0,
        repeats: Repeats | None = None,
    ) -> None:
        self._target: dict[str, Any] = json.loads(str(target))
        self._repeats = repeats or Repeats()
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-prune-")
        self._numbers: Iterator[int] = itertools.count()
        self._builders = WorkerPool(
            builders or os.cpu_count() or 1,
            timeout=build_timeout,
            imports=("tvm_prune.measure.jobs",),
        )
        self._runner = runner_pool(int(self._target.get("num-cores", 1)), timeout=run_timeout)

    @property
    def unit(self) -> str:
        """``seconds``."""
        return "seconds"

    def build(self, modules: Sequence[tvm.IRModule]) -> list[Artifact | Failure]:
        """Compile scheduled modules to shared libraries, each in a folder of its own."""
        link = _LINK if shutil.which(_LINK[0]) else _LINK_WITH_DRIVER
        paths = [Path(self._folder.name) / str(next(self._numbers)) / "kernel.so" for _ in modules]
        built = self._builders.map(
            jobs.build_kernel,
            [
                (module, self._target, str(path), link)
                for module, path in zip(modules, paths, strict=True)
            ],
        )
        return [
            Failure("build", result.cause)
            if isinstance(result, Failed)
            else Artifact(path, arguments_of(module))
            for result, path, module in zip(built, paths, modules, strict=True)
        ]

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Measure kernels one after the other, on randomly filled arguments and a warm cache."""
        ran = self._runner.map(
            jobs.run_kernel,
            [(str(artifact.path), artifact.arguments, self._repeats) for artifact in artifacts],
        )
        return [
            Failure("run", result.cause)
            if isinstance(result, Failed)
            else Measurement(tuple(result), self.unit)
            for result in ran
        ]

    def close(self) -> None:
        """Stop all processes and delete all artifacts."""
        self._builders.close()
        self._runner.close()
        self._folder.cleanup()


def runner_pool(threads: int, *, timeout: float) -> WorkerPool:
    """A pool of one process in which TVM's thread pool has `threads` threads."""
    return WorkerPool(
        1,
        timeout=timeout,
        imports=("tvm_prune.measure.jobs",),
        environment={"TVM_NUM_THREADS": str(threads)},
    )


def arguments_of(module: tvm.IRModule) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Data type and shape of every parameter of the module's ``main``."""
    from tvm_prune.tuning.kernels import Workload

    return Workload(module).arguments
