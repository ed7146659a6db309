"""A model at any widths: pruned, lowered, scheduled by transfer, compiled."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from tvm_prune.board import Board
from tvm_prune.channels import Channels, Limits, Scores, keep_best, plan_for_units
from tvm_prune.export import export_shared_library, write_c_project
from tvm_prune.latency import Family, Widths
from tvm_prune.mcu import compile_c_model
from tvm_prune.mcu.firmware import FirmwareBuilder, arena_room
from tvm_prune.mcu.pad_choice import with_padding_that_fits
from tvm_prune.model import Model
from tvm_prune.plan import PruningPlan
from tvm_prune.transform import inference_form, pruned_model
from tvm_prune.tuning import (
    KernelCall,
    ScheduleSource,
    Workload,
    kernel_calls,
    lower,
    with_schedules,
)

ChooseSchedules = Callable[[Sequence[tuple[ScheduleSource, Workload]]], Sequence[Any]]


@dataclass(frozen=True)
class Compilation:
    """Everything needed to build a model at any widths.

    Attributes:
        model: the dense model.
        channels: its groups.
        scores: importance of every unit; the best ones are kept.
        limits: lowest and highest width of every group.
        target: what to compile for.
        linker: compiler driver that links for it; this machine's C++ compiler by default.
        shares: share of each group that is kept at every width, where it is not that of the
            importance.
        board: the board, where models become firmware for it.
    """

    model: Model
    channels: Channels
    scores: Scores
    limits: Limits
    target: Any
    linker: str | None = None
    shares: Scores = ()
    board: Board | None = None
    _calls: dict[Widths, tuple[KernelCall, ...]] = field(default_factory=dict)

    @property
    def dense(self) -> Widths:
        """Dense width of every group."""
        return tuple(group.width for group in self.channels.groups)

    @property
    def may_stay_dense(self) -> bool:
        """Whether no group has to lose units."""
        return all(
            highest == width for (_, highest), width in zip(self.limits, self.dense, strict=True)
        )

    def plan(self, widths: Widths) -> PruningPlan:
        """The plan that keeps the most important units at these widths."""
        return plan_for_units(self.channels, keep_best(self.scores, widths), self.model.parameters)

    def pruned(
        self, plan: PruningPlan, parameters: Mapping[str, NDArray[Any]] | None = None
    ) -> Model:
        """The model after a plan, with its own kept weights or the given ones."""
        return pruned_model(self.model, plan, parameters)

    def kernel_calls(self, widths: Widths) -> Sequence[KernelCall]:
        """Kernel calls of the model at these widths, in program order."""
        if widths not in self._calls:
            lowered = lower(inference_form(self.pruned(self.plan(widths))), self.target)
            self._calls[widths] = kernel_calls(lowered)
        return self._calls[widths]

    def build(
        self,
        model: Model,
        families: Sequence[Family],
        choose: ChooseSchedules,
        path: Path,
        room: int | None = None,
    ) -> None:
        """Compile a pruned model with the schedules of its families.

        Args:
            model: the dense model at any widths.
            families: the kernels and where their schedules come from.
            choose: gives the schedules of kernels from where they come from.
            path: where the shared library goes, or the firmware; the C project that the firmware
                was built from goes into the folder of the same name without the suffix.
            room: bytes that a firmware's arena may take; all that the board has by default.
        """
        lowered, scheduled = self.scheduled(model, families, choose, room)
        if self.board is not None and self.board.is_microcontroller:
            self._build_firmware(self.board, model, lowered, scheduled, path)
        else:
            linked = with_schedules(lowered, scheduled)
            export_shared_library(linked, self.target, path, self.linker)

    def scheduled(
        self,
        model: Model,
        families: Sequence[Family],
        choose: ChooseSchedules,
        room: int | None = None,
    ) -> tuple[tvm.IRModule, dict[str, Any]]:
        """A pruned model lowered, and the schedule of each of its kernels by name.

        The arguments are those of :meth:`build`. The schedules fit the memory of a microcontroller.
        """
        lowered = lower(inference_form(model), self.target)
        calls = kernel_calls(lowered)
        kernels: dict[str, tuple[ScheduleSource, Workload]] = {}
        for family in families:
            for position in family.calls:
                call = calls[position]
                kernels.setdefault(call.name, (family.source, call.workload))
        scheduled = dict(zip(kernels, choose(list(kernels.values())), strict=True))
        if self.board is not None and self.board.is_microcontroller:
            room = arena_room(self.board, room)
            scheduled = with_padding_that_fits(lowered, scheduled, self.target, room)
        return lowered, scheduled

    def _build_firmware(
        self, board: Board, model: Model, lowered: Any, scheduled: Mapping[str, Any], path: Path
    ) -> None:
        compiled = compile_c_model(
            lowered, self.target, model.name, model.inputs, model.outputs, scheduled=scheduled
        )
        write_c_project(path.with_suffix(""), compiled, board)
        firmware = FirmwareBuilder(board, path.parent / "firmware-parts")
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            firmware.build(compiled.files, Path(folder)).replace(path)


def example_inputs(model: Model, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Random inputs for a model, for when only its speed matters."""
    generator = np.random.default_rng(seed)
    return {
        spec.name: generator.random(spec.shape).astype(spec.dtype)
        if spec.dtype.startswith("float")
        else np.zeros(spec.shape, dtype=spec.dtype)
        for spec in model.inputs
    }
