"""From a Relax module to its kernels, and back with schedules in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.s_tir import Schedule
from tvm.target import Target
from tvm.tirx import PrimFunc

from tvm_prune.errors import TuningError

_CALL_OPS = ("relax.call_tir", "relax.call_tir_inplace")
_OP_PATTERN = "op_pattern"
_RULE = "schedule_rule"
_RULE_FUNCTION = "s_tir.meta_schedule.cpu."


@dataclass(frozen=True, eq=False)
class Workload:
    """A kernel at concrete extents: a module that holds one PrimFunc, ``main``."""

    mod: tvm.IRModule

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits: the structural hash, equal in every process."""
        return f"{tvm_ffi.structural_hash(self.mod['main']) & (2**64 - 1):016x}"

    @cached_property
    def arguments(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Data type and shape of every parameter, inputs first and outputs last."""
        return tuple(
            (str(buffer.dtype), tuple(int(extent) for extent in buffer.shape))
            for buffer in (parameter.ty for parameter in self.mod["main"].params)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Workload) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class KernelCall:
    """One call of a kernel in a lowered module.

    Attributes:
        name: name of the PrimFunc in the lowered module; several calls may share it.
        workload: what is called.
    """

    name: str
    workload: Workload


def lower(mod: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Legalize and fuse a Relax module until its ``main`` calls one PrimFunc per kernel.

    Args:
        mod: a Relax module with its parameters bound as constants and folded. Constants are not
            folded here, because TVM compiles every constant expression to do so.
        target: what the legalization may look at.

    Returns:
        A module whose ``main`` calls fused PrimFuncs; the same for the same input.
    """
    passes = tvm.transform.Sequential(
        [
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
        ]
    )
    with target:
        return passes(mod)


def kernel_calls(lowered: tvm.IRModule) -> tuple[KernelCall, ...]:
    """The kernel calls of ``main`` in program order.

    The order is what pairs the kernels of a dense and a pruned model: their names are numbered
    after de-duplication and do not correspond.
    """
    workloads: dict[str, Workload] = {}
    calls = []
    for name, function in _called_functions(lowered):
        if name not in workloads:
            workloads[name] = workload_of(function)
        calls.append(KernelCall(name, workloads[name]))
    return tuple(calls)


def workload_of(function: PrimFunc) -> Workload:
    """Wrap a PrimFunc as a workload, without what depends on the module it came from."""
    if _OP_PATTERN in function.attrs:
        function = function.without_attr(_OP_PATTERN)
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    return Workload(_without_unknown_rules(mod))


def with_schedules(lowered: tvm.IRModule, scheduled: Mapping[str, Any]) -> tvm.IRModule:
    """Put scheduled kernels into a lowered module.

    Args:
        lowered: result of :func:`lower`; it is not changed.
        scheduled: kernel name to a ``Schedule`` of its workload or to a scheduled PrimFunc.

    Returns:
        A module where these kernels are scheduled and marked ``tirx.is_scheduled``; kernels that
        are not named stay as they are.

    Raises:
        TuningError: if a name is not a kernel of `lowered`.
    """
    functions = {var.name_hint: var for var in lowered.get_global_vars()}
    result = tvm.IRModule(dict(lowered.functions_items()), attrs=lowered.attrs)
    for name, schedule in scheduled.items():
        if name not in functions or not isinstance(lowered[name], PrimFunc):
            raise TuningError(f"'{name}' is not a kernel of the module ({', '.join(functions)})")
        function = schedule if isinstance(schedule, PrimFunc) else schedule.mod["main"]
        function = function.without_attr("global_symbol").with_attrs(
            {**lowered[name].attrs, "tirx.is_scheduled": True}
        )
        result.update_func(functions[name], function)
    return result


def _without_unknown_rules(mod: tvm.IRModule) -> tvm.IRModule:
    """Remove requests for scheduling rules that TVM has for other devices only.

    MetaSchedule ignores them, but prints a warning each time it meets one.
    """
    schedule = Schedule(mod, debug_mask="none")
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        rule = schedule.get(block).annotations.get(_RULE)
        if (
            rule is not None
            and tvm.get_global_func(_RULE_FUNCTION + rule, allow_missing=True) is None
        ):
            schedule.unannotate(block, _RULE)
    return schedule.mod


def _called_functions(lowered: tvm.IRModule) -> Iterator[tuple[str, PrimFunc]]:
    """Name and PrimFunc of every kernel call in ``main``, in program order."""
    call_ops = [tvm.ir.Op.get(name) for name in _CALL_OPS]
    for block in lowered["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call) and any(value.op.same_as(op) for op in call_ops):
                yield value.args[0].name_hint, lowered[value.args[0]]
