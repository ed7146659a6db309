"""Sizes of a program's memory before it is compiled to a C model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm.target import Target
from tvm.tirx import PrimFunc

from tvm_prune.mcu.in_place import places_taken
from tvm_prune.mcu.layout import shared_spans
from tvm_prune.mcu.program import Constant, Program
from tvm_prune.mcu.unpack import unpacked


@dataclass(frozen=True)
class Weight:
    """A use of a constant.

    Attributes:
        owner: position among all uses of the first use of the same constant.
        itemsize: bytes of an element.
        shape: of the constant.
    """

    owner: int
    itemsize: int
    shape: tuple[int, ...]


def weight_uses(program: Program) -> tuple[Weight, ...]:
    """Every use of a constant by a kernel, in program order."""
    constants = [
        argument
        for call in program.calls
        for argument in call.inputs
        if isinstance(argument, Constant)
    ]
    first = {constant: index for index, constant in reversed(list(enumerate(constants)))}
    return tuple(Weight(first[c], c.value.itemsize, c.value.shape) for c in constants)


def alive_bytes(program: Program) -> tuple[int, ...]:
    """Bytes of tensors that are alive in the arena at every call."""
    spans = shared_spans(program, places_taken(program)).values()
    return tuple(
        sum(span.bytes for span in spans if span.first <= step <= span.last)
        for step in range(len(program.calls))
    )


def live_bytes(program: Program, scheduled: Mapping[str, Any], target: Target) -> tuple[int, ...]:
    """Bytes that are alive in the arena at every call, the kernels' workspaces included.

    Args:
        program: the model.
        scheduled: kernel name to a ``Schedule`` or a scheduled PrimFunc; the others are taken as
            they are.
        target: LLVM target of the board.
    """
    functions = {
        name: function_of(scheduled.get(name, function))
        for name, function in program.kernels.items()
    }
    _, signatures = unpacked(functions, target)
    return tuple(
        alive + signatures[call.kernel].workspace_bytes
        for call, alive in zip(program.calls, alive_bytes(program), strict=True)
    )


def function_of(schedule: Any) -> PrimFunc:
    """The PrimFunc of a ``Schedule``; a PrimFunc is one already."""
    return schedule if isinstance(schedule, PrimFunc) else schedule.mod["main"]
