"""Run a C project on its board: outputs, cost and stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.board_choice import chosen_board
from tvm_prune.errors import BoardError
from tvm_prune.mcu.dialogue import Report
from tvm_prune.mcu.project import Project
from tvm_prune.measure import MEASURERS, FirmwareMeasurer
from tvm_prune.model import bound_inputs, split_batches
from tvm_prune.report.tables import text_table


@dataclass(frozen=True)
class FirmwareRun:
    """What a firmware computed and what it took.

    Attributes:
        outputs: by name, stacked over the samples.
        report: cost and stack.
        board: where it ran.
        kernels: name and cost of every kernel call, where that was asked for.
    """

    outputs: Mapping[str, NDArray[Any]]
    report: Report
    board: str
    kernels: tuple[tuple[str, int], ...] = ()

    def text(self) -> str:
        """Cost and stack, for people."""
        costs = sorted(set(self.report.costs))
        shown = " to ".join(f"{cost:,}" for cost in dict.fromkeys((costs[0], costs[-1])))
        told = (
            f"{shown} {self.report.unit} a run on {self.board}, "
            f"{self.report.stack:,} bytes of stack"
        )
        if not self.kernels:
            return told
        total = sum(cost for _, cost in self.kernels)
        rows = [(name, f"{cost:,}", f"{cost / total:.1%}") for name, cost in self.kernels]
        return f"{told}\n{text_table(('kernel', self.report.unit, 'share'), rows)}"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "outputs": {name: array.tolist() for name, array in self.outputs.items()},
            "board": self.board,
            "unit": self.report.unit,
            "costs": list(self.report.costs),
            "stack": self.report.stack,
            "kernels": [{"name": name, "cost": cost} for name, cost in self.kernels],
        }


def run_project(
    project: Project,
    arrays: Mapping[str, NDArray[Any]],
    board: str | None = None,
    *,
    clock: str | None = None,
    profile: bool = False,
) -> FirmwareRun:
    """Build a C project, as it lies there, and run it for one sample or for many stacked ones.

    Args:
        project: from :func:`tvm_prune.mcu.project.read_project`.
        arrays: inputs by name.
        board: name or file of the board; by default the one that the project was made for.
        clock: what to measure in, where the board has several clocks.
        profile: whether to tell the cost of every kernel call, too.

    Raises:
        DataError: if the arrays do not fit the inputs.
        BoardError: if the board is no microcontroller, or cannot be reached.
        MeasureError: if the project does not build or run.
    """
    inputs = bound_inputs(project.inputs, arrays, batch=True)
    found = chosen_board(board or project.board, clock)
    if not found.is_microcontroller:
        raise BoardError(
            f"'{found.name}' is no microcontroller and runs no C project; "
            f"this one was made for '{project.board}'."
        )
    measurer = MEASURERS[found.connection](found, None, None)
    assert isinstance(measurer, FirmwareMeasurer)
    try:
        report = measurer.run_project(project, split_batches(project.inputs, inputs))
        costs = measurer.profile_project(project) if profile else ()
    finally:
        measurer.close()
    outputs = {
        spec.name: np.concatenate([run[index] for run in report.outputs])
        for index, spec in enumerate(project.outputs)
    }
    kernels = tuple(zip(project.kernels, costs, strict=bool(costs)))
    return FirmwareRun(outputs, report, found.name, kernels)
