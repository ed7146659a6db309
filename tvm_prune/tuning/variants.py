"""The schedules that a tuned trace offers for a kernel at new extents, before one is chosen.

The trace is tried as it is, with perfect tilings, and where a channel loop does not tile like the
one that the trace was tuned for, with that loop rounded up to extents that do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_prune.errors import TransferError
from tvm_prune.tuning.fit import Use, Wanted, uses
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.padding import padded
from tvm_prune.tuning.traces import tile_slots
from tvm_prune.tuning.transfer import transfer


def variants(
    trace: Any, workload: Workload, target: Target, context: Any | None = None
) -> Iterator[Schedule]:
    """Schedules of a workload, the one with perfect tilings first.

    There is none if the trace does not apply.

    Args:
        trace: tuned for a kernel of the same structure.
        workload: the kernel at the extents that are wanted.
        target: the target that the trace was tuned for.
        context: see :func:`~tvm_prune.tuning.transfer.transfer`.
    """
    for use in uses(tile_slots(trace), Wanted(workload)):
        try:
            yield scheduled(use, trace, workload, target, context)
        except TransferError:
            if use.padding is None:
                return


def scheduled(
    use: Use, trace: Any, workload: Workload, target: Target, context: Any | None = None
) -> Schedule:
    """The schedule of a workload that one way to use a trace gives.

    Raises:
        TransferError: if the trace does not apply so.
    """
    return transfer(trace, as_used(use, workload), target, context)


def as_used(use: Use, workload: Workload) -> Workload:
    """The workload with the loop rounded up that this way to use a trace rounds up."""
    return workload if use.padding is None else padded(workload, *use.padding)
