"""Use a tuned schedule at another width.

A MetaSchedule trace is a program: instructions that split, reorder and inline, and decisions of
the search. Run on the same kernel with other extents, only the decisions about tile sizes cease to
fit; they are replaced by the closest ones that do. This costs milliseconds, where tuning afresh
costs minutes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tvm_prune.errors import TransferError
from tvm_prune.tuning.context import postprocess, tune_context
from tvm_prune.tuning.database import best_record
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.tiling import closest_tiling
from tvm_prune.tuning.traces import TILE, apply_text, cause_of, integers, new_schedule


def tuned_trace(database: Any, workload: Workload, target: Target) -> Trace | None:
    """The trace of the fastest schedule in `database` for this very workload, or None."""
    record = best_record(database, workload, target)
    return None if record is None else record.trace


def transfer(
    trace: Trace, workload: Workload, target: Target, context: Any | None = None
) -> Schedule:
    """Schedule a workload with a trace that was tuned for the same kernel at other extents.

    Args:
        trace: from :func:`tuned_trace` or :func:`trace_from_json`.
        workload: the same kernel, at any extents.
        target: the target that the trace was tuned for.
        context: from :func:`~tvm_prune.tuning.context.tune_context` for this target, of any
            workload; a new one, which takes 5 ms to make, by default.

    Returns:
        A schedule of ``workload.mod`` with vector, parallel and unrolled loops in place.

    Raises:
        TransferError: if the kernel has another structure than the trace expects, or the result is
            rejected by the target's post-processors.
    """

    def apply(schedule: Schedule) -> None:
        trace.apply_to_schedule(
            schedule,
            remove_postproc=True,
            decision_provider=lambda instruction, inputs, _attributes, decision: _fitting_decision(
                schedule, instruction, inputs, decision
            ),
        )

    return _scheduled(apply, workload, target, context)


def transfer_text(
    text: str,
    tilings: Sequence[Sequence[int]],
    workload: Workload,
    target: Target,
    context: Any | None = None,
) -> Schedule:
    """The same with a trace as text and tile sizes that fit: half as slow, as nothing is read.

    Args:
        text: a trace without what post-processors added, from
            :func:`~tvm_prune.tuning.traces.search_trace_to_json`.
        tilings: from :func:`~tvm_prune.tuning.fit.fitted_tilings`.
        workload: see :func:`transfer`.
        target: see :func:`transfer`.
        context: see :func:`transfer`.

    Raises:
        TransferError: see :func:`transfer`.
    """
    return _scheduled(functools.partial(apply_text, text, tilings), workload, target, context)


def _scheduled(
    apply: Callable[[Schedule], None], workload: Workload, target: Target, context: Any | None
) -> Schedule:
    schedule = new_schedule(workload)
    try:
        apply(schedule)
        accepted = postprocess(schedule, context or tune_context(workload.mod, target))
    except Exception as error:
        raise TransferError(
            f"the tuned schedule does not apply to kernel {workload.key}: {cause_of(error)}"
        ) from error
    if not accepted:
        raise TransferError(
            f"the tuned schedule does not suit kernel {workload.key}: "
            "a post-processor of the target rejects it"
        )
    return schedule


def _fitting_decision(
    schedule: Schedule, instruction: Any, inputs: Sequence[Any], decision: Any
) -> Any:
    """The old decision where it fits the new extents, or the closest one that does.

    TVM itself moves a compute location to the nearest loop there is, and refuses a categorical
    choice outside its candidates.
    """
    if instruction.kind.name == TILE:
        return closest_tiling(int(schedule.get(inputs[0]).extent), integers(decision))
    return decision
