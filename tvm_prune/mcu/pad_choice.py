"""Where every kernel computes its padding: the fastest place for which there is memory.

A copy of the whole input is fast and large, folded padding is slow and takes nothing, and copies of
a few rows lie between; see :mod:`tvm_prune.tuning.pad_places`. A kernel keeps the place that its
schedule has, which is the fastest one known, where the arena has room for it. Elsewhere it takes
the one with the fewest estimated instructions of those that fit. A schedule that was found by
tuning may take memory for other things, too: where it fits nowhere, the one by rule is tried, and
where that does not either, the smallest one there is is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm.target import Target

from tvm_prune.mcu.estimate import padding_instructions
from tvm_prune.mcu.footprint import alive_bytes, function_of
from tvm_prune.mcu.in_place import places_taken
from tvm_prune.mcu.layout import laid_out
from tvm_prune.mcu.program import Program, read_program
from tvm_prune.mcu.unpack import Signature, unpacked
from tvm_prune.tuning import (
    Workload,
    default_schedule,
    folded,
    kernel_calls,
    moved_padding,
    padding_blocks,
)

_CORRECTIONS = 4
"""Times that the room is made smaller because buffers do not pack without gaps."""


@dataclass(frozen=True)
class _Option:
    """A schedule of a kernel.

    Attributes:
        schedule: a ``Schedule`` or a scheduled PrimFunc.
        signature: what the kernel takes.
        instructions: estimated cost of the padding.
    """

    schedule: Any
    signature: Signature
    instructions: float

    @property
    def workspace(self) -> int:
        return self.signature.workspace_bytes


def with_padding_that_fits(
    lowered: tvm.IRModule, scheduled: Mapping[str, Any], target: Target, room: int
) -> dict[str, Any]:
    """Move the padding of kernels, or schedule them by rule, such that the arena fits.

    Args:
        lowered: result of :func:`tvm_prune.tuning.lower`.
        scheduled: kernel name to its ``Schedule``.
        target: LLVM target of the board.
        room: bytes that the arena may take.

    Returns:
        The schedules, some of them with their padding elsewhere or by rule. Where not even folding
        all padding is enough, the arena is the smallest that can be had.
    """
    program = read_program(lowered)
    workloads = {call.name: call.workload for call in kernel_calls(lowered)}
    chooser = _Chooser(program, workloads, dict(scheduled), target)
    allowed = room
    for _ in range(_CORRECTIONS):
        chosen = chooser.within(allowed)
        excess = _arena(program, chosen) - room
        if excess <= 0 or not chooser.can_shrink(chosen):
            break
        allowed -= excess
    return {name: option.schedule for name, option in chosen.items()}


def smallest_schedules(lowered: tvm.IRModule, target: Target) -> dict[str, Any]:
    """Schedules by rule with all padding folded in: in their memory every kernel can be had."""
    found = {}
    for call in kernel_calls(lowered):
        schedule = default_schedule(call.workload, target)
        if padding_blocks(call.workload):
            schedule = folded(schedule, call.workload, target) or schedule
        found[call.name] = schedule
    return found


class _Chooser:
    """Chooses for every kernel on its own: each has the arena for itself while it runs."""

    def __init__(
        self,
        program: Program,
        workloads: Mapping[str, Workload],
        scheduled: Mapping[str, Any],
        target: Target,
    ) -> None:
        self._workloads, self._target = workloads, target
        self._alive: dict[str, int] = {}
        for call, size in zip(program.calls, alive_bytes(program), strict=True):
            self._alive[call.kernel] = max(size, self._alive.get(call.kernel, 0))
        self._given = {
            name: self._option(scheduled.get(name, function), name)
            for name, function in program.kernels.items()
        }
        self._owned: dict[str, list[_Option]] = {}
        self._ruled: dict[str, list[_Option]] = {}

    def within(self, room: int) -> dict[str, _Option]:
        """The option of every kernel where the arena may take so many bytes."""
        return {
            name: given
            if self._alive[name] + given.workspace <= room
            else self._choice(name, room - self._alive[name])
            for name, given in self._given.items()
        }

    def can_shrink(self, chosen: Mapping[str, _Option]) -> bool:
        """Whether a kernel could do with less."""
        return any(
            option.workspace > min(each.workspace for each in self._own(name) + self._by_rule(name))
            for name, option in chosen.items()
        )

    def _choice(self, name: str, room: int) -> _Option:
        for find in (self._own, self._by_rule):
            fitting = [option for option in find(name) if option.workspace <= room]
            if fitting:
                return min(fitting, key=lambda option: (option.instructions, option.workspace))
        return min(
            self._own(name) + self._by_rule(name),
            key=lambda option: (option.workspace, option.instructions),
        )

    def _own(self, name: str) -> list[_Option]:
        """The given schedule, and the same with its padding elsewhere."""
        if name not in self._owned:
            given = self._given[name]
            self._owned[name] = [given, *self._moved(given.schedule, name)]
        return self._owned[name]

    def _by_rule(self, name: str) -> list[_Option]:
        """The schedule by rule likewise; nothing where it was given, or the kernel has none."""
        if name not in self._ruled:
            given = self._given[name].schedule
            self._ruled[name] = []
            if hasattr(given, "trace"):
                rule = default_schedule(self._workloads[name], self._target)
                if not tvm_ffi.structural_equal(rule.mod, given.mod):
                    self._ruled[name] = [self._option(rule, name), *self._moved(rule, name)]
        return self._ruled[name]

    def _moved(self, schedule: Any, name: str) -> list[_Option]:
        workload = self._workloads[name]
        if not hasattr(schedule, "trace") or not padding_blocks(workload):
            return []
        return [
            self._option(each, name) for each in moved_padding(schedule, workload, self._target)
        ]

    def _option(self, schedule: Any, name: str) -> _Option:
        module, signatures = unpacked({name: function_of(schedule)}, self._target)
        return _Option(schedule, signatures[name], padding_instructions(module[name]))


def _arena(program: Program, chosen: Mapping[str, _Option]) -> int:
    signatures = {name: option.signature for name, option in chosen.items()}
    places = places_taken(program)
    return laid_out(program, signatures, share=True, places=places).arena.bytes
