"""Measure on microcontrollers: kernels and whole models become firmware that is asked its cost."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import tvm

from tvm_prune.board import Board
from tvm_prune.errors import PruneError
from tvm_prune.machine import conditions
from tvm_prune.mcu.dialogue import Link, Report, profile_model, run_model, time_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.project import Project, is_project, read_project
from tvm_prune.measure import firmware_jobs
from tvm_prune.measure.building import Workers, arguments_of
from tvm_prune.measure.farm import Farm, Lost
from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measurement import LOST, Array, Artifact, Failure, Measurement
from tvm_prune.model import TensorSpec

Job = TypeVar("Job")
Result = TypeVar("Result")

_SAMPLES = 16
"""Inputs that one exchange with the firmware runs."""


class FirmwareMeasurer:
    """Builds kernels as firmware of their own and asks a board what they cost.

    Kernels are compiled by parallel processes, one of which an ill-natured kernel may cost. What
    does not compile, does not fit, faults, or does not finish becomes a :class:`Failure`.

    Args:
        board: the microcontroller.
        link: opens the way to a board that runs the given firmware.
        executor: compiles the kernels; processes of this machine by default.
        builders: number of those processes; all processors by default.
        build_timeout: seconds that one kernel may take to compile.
        at_once: boards that run at the same time.
        repeats: runs of each kernel or model; one where all would be the same.
    """

    def __init__(
        self,
        board: Board,
        link: Callable[[Path, FirmwareBuilder], Link],
        *,
        executor: Executor | None = None,
        builders: int | None = None,
        build_timeout: float = 60.0,
        at_once: int = 1,
        repeats: int = 1,
    ) -> None:
        self._board, self._link, self._repeats = board, link, repeats
        self._target: dict[str, Any] = json.loads(str(board.tvm_target()))
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-prune-firmware-")
        self._firmware = FirmwareBuilder(board, Path(self._folder.name) / "parts")
        self._numbers: Iterator[int] = itertools.count()
        self._linkers = ThreadPoolExecutor(os.cpu_count() or 1)
        self._boards = ThreadPoolExecutor(at_once)
        self._workers: Workers = (
            WorkerPool(
                builders or os.cpu_count() or 1,
                timeout=build_timeout,
                imports=("tvm_prune.measure.firmware_jobs",),
            )
            if executor is None
            else Farm(executor, timeout=build_timeout)
        )

    @property
    def unit(self) -> str:
        """``instructions`` under QEMU, ``cycles`` on a real board."""
        return self._board.unit

    @property
    def firmware(self) -> FirmwareBuilder:
        """Builds the firmware of the board."""
        return self._firmware

    def build(self, modules: Sequence[tvm.IRModule]) -> list[Artifact | Failure]:
        """Compile scheduled modules to firmware, each in a folder of its own."""
        jobs = [(module, self._target) for module in modules]
        compiled = self._workers.map(firmware_jobs.compile_kernel, jobs)
        return list(self._linkers.map(self._linked, compiled, modules))

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Measure kernels on numbers that mean nothing."""
        return list(self._boards.map(self._measured, artifacts))

    def run_model(self, library: Path, inputs: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        """Outputs of a model for every input; see :class:`~tvm_prune.measurement.ModelRunner`."""
        project = _project_of(library)
        parts = [inputs[start : start + _SAMPLES] for start in range(0, len(inputs), _SAMPLES)]

        def outputs_of(part: Sequence[Mapping[str, Array]]) -> Report:
            return run_model(self._open(library), project.inputs, project.outputs, part)

        reports = list(self._boards.map(outputs_of, parts))
        return [list(outputs) for report in reports for outputs in report.outputs]

    def run_project(self, project: Project, inputs: Sequence[Mapping[str, Array]]) -> Report:
        """Build the firmware of a C project as it lies there, and run it on every input.

        Raises:
            MeasureError: if it does not build or run.
        """
        link = self._link_to(project)
        return run_model(link, project.inputs, project.outputs, inputs)

    def profile_project(self, project: Project) -> tuple[int, ...]:
        """What each kernel call of a C project costs, on numbers that mean nothing.

        Raises:
            MeasureError: if it does not build or run.
        """
        link = self._link_to(project, profile=True)
        return profile_model(link, project.inputs, len(project.kernels)).kernels

    def time_models(
        self, libraries: Sequence[Path], inputs: Mapping[str, Array], *, rounds: int = 15
    ) -> list[Measurement]:
        """Costs of models; `rounds` counts only where they are not the same at every run."""
        turns = min(rounds, self._repeats)

        def measured(library: Path) -> Measurement:
            specs = _project_of(library).inputs
            report = run_model(self._open(library), specs, (), [inputs] * turns)
            return self._measurement(report)

        return list(self._boards.map(measured, libraries))

    def memory(self, library: Path) -> dict[str, float]:
        """Bytes of ``flash`` and ``ram`` that a firmware takes, by name of the budget."""
        return {name: float(size) for name, size in vars(self._firmware.memory(library)).items()}

    def close(self) -> None:
        """Stop all processes and delete all artifacts."""
        self._workers.close()
        self._linkers.shutdown()
        self._boards.shutdown()
        self._folder.cleanup()

    def _linked(self, compiled: Mapping[str, bytes] | Failed, module: Any) -> Artifact | Failure:
        if isinstance(compiled, Failed):
            return Failure(LOST if isinstance(compiled, Lost) else "build", compiled.cause)
        folder = Path(self._folder.name) / str(next(self._numbers))
        try:
            elf = self._firmware.build(compiled, folder)
        except PruneError as error:
            return Failure("build", str(error))
        finally:
            for name in compiled:
                (folder / name).unlink(missing_ok=True)
        return Artifact(elf, arguments_of(module))

    def _measured(self, artifact: Artifact) -> Measurement | Failure:
        specs = [
            TensorSpec(f"argument{index}", shape, dtype)
            for index, (dtype, shape) in enumerate(artifact.arguments[:-1])
        ]
        try:
            return self._measurement(time_model(self._open(artifact.path), specs, self._repeats))
        except PruneError as error:
            return Failure("run", str(error))

    def _measurement(self, report: Report) -> Measurement:
        return Measurement(tuple(map(float, report.costs)), report.unit, conditions())

    def _link_to(self, project: Project, *, profile: bool = False) -> Link:
        folder = Path(self._folder.name) / str(next(self._numbers))
        return self._open(self._firmware.build(project.model_files(), folder, profile=profile))

    def _open(self, elf: Path) -> Link:
        return self._link(elf, self._firmware)


def _project_of(firmware: Path) -> Project:
    """The C project that a firmware was built from: beside it, or around it in a bundle."""
    beside = firmware.with_suffix("")
    return read_project(beside if is_project(beside) else firmware.parent)
