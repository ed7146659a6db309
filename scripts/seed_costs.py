"""What schedules of one kernel cost, each measured in turns with the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.latency import RecordKey, program_digest
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer, raise_if_lost
from tvm_prune.session import Session
from tvm_prune.tuning import Workload
from tvm_prune.units import EXACT

_TURNS = 3


def schedule_costs(
    session: Session, workload: Workload, schedules: Sequence[Any]
) -> NDArray[np.float64]:
    """Median cost of every schedule, infinite where it does not run; measured once each.

    Args:
        session: the board, and what was measured.
        workload: the kernel.
        schedules: its schedules.
    """
    records, board = session.records, session.board.fingerprint
    keys = [RecordKey(board, workload.key, f"seed:{program_digest(each)}") for each in schedules]
    new = {key: s for key, s in zip(keys, schedules, strict=True) if not records.is_settled(key)}
    outcomes = _measured_in_turns(list(new.values()), session.measurer)
    records.put(dict(zip(new, outcomes, strict=True)))
    raise_if_lost(outcomes)
    known = [records.get(key) for key in keys]
    return np.array([each.median if isinstance(each, Measurement) else math.inf for each in known])


def _measured_in_turns(schedules: Sequence[Any], measurer: Measurer) -> list[Measurement | Failure]:
    """What every schedule costs, over turns: one sample each, its median."""
    built = measurer.build([schedule.mod for schedule in schedules])
    positions = [i for i, artifact in enumerate(built) if isinstance(artifact, Artifact)]
    taken: list[list[Measurement | Failure]] = [
        [each] if isinstance(each, Failure) else [] for each in built
    ]
    for _ in range(1 if measurer.unit in EXACT else _TURNS):
        outcomes = measurer.run([built[position] for position in positions])  # type: ignore[misc]
        for position, outcome in zip(positions, outcomes, strict=True):
            taken[position].append(outcome)
    return [_over_turns(own) for own in taken]


def _over_turns(outcomes: Sequence[Measurement | Failure]) -> Measurement | Failure:
    measured = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
    if not measured:
        return outcomes[0]
    return replace(measured[0], samples=tuple(outcome.median for outcome in measured))
