"""What a run holds open: the board's measurer, the tuning database and the measurements."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune.board import Board
from tvm_prune.latency import Records, ScheduleSource, open_records
from tvm_prune.measure import MEASURERS, Repeats
from tvm_prune.measurement import Measurer
from tvm_prune.tuning import Workload, open_database, trace_to_json, tuned_trace


@dataclass(frozen=True)
class Session:
    """Open resources of one run.

    Attributes:
        board: the board to build for.
        target: its TVM target.
        measurer: builds and measures kernels for it.
        database: MetaSchedule's database of tuned schedules.
        records: kernel measurements.
    """

    board: Board
    target: Any
    measurer: Measurer
    database: Any
    records: Records

    @property
    def threads(self) -> int:
        """Size of TVM's thread pool on the board."""
        return int(self.board.target.get("num-cores", 1))

    def source(self, workload: Workload) -> ScheduleSource:
        """Where the schedules of a dense kernel and its pruned forms come from."""
        trace = tuned_trace(self.database, workload, self.target)
        if trace is None:
            return ScheduleSource("default", None)
        digest = hashlib.sha256(trace_to_json(trace).encode()).hexdigest()
        return ScheduleSource(digest[:16], trace)


@contextmanager
def open_session(board: Board, cache: Path) -> Iterator[Session]:
    """Open a session; workers stop and files close at the end of the block.

    Args:
        board: the board to build for.
        cache: directory that keeps tuned schedules and measurements over runs.
    """
    target = board.tvm_target()
    measurer = MEASURERS[board.connection](target, repeats=Repeats(samples=board.repeats))
    try:
        with open_records(cache / "measurements.sqlite") as records:
            database = open_database(cache / board.fingerprint)
            yield Session(board, target, measurer, database, records)
    finally:
        measurer.close()
