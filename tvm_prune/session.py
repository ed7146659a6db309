"""What a run holds open: the board's measurer, the tuning database and the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune.board import Board
from tvm_prune.latency import Records, open_records
from tvm_prune.measure import MEASURERS, open_executor
from tvm_prune.measurement import BoardMeasurer
from tvm_prune.tuning import (
    ScheduleSource,
    TraceLibrary,
    Workload,
    find_source,
    open_database,
    seed_library,
    sole_writer,
)


@dataclass(frozen=True)
class Session:
    """Open resources of one run.

    Attributes:
        board: the board to build for.
        target: its TVM target.
        measurer: builds kernels for it, and measures them and whole models there.
        database: MetaSchedule's database of tuned schedules.
        records: kernel measurements.
        seeds: the seed traces for the target.
    """

    board: Board
    target: Any
    measurer: BoardMeasurer
    database: Any
    records: Records
    seeds: TraceLibrary

    @property
    def threads(self) -> int:
        """Size of TVM's thread pool on the board."""
        return int(self.board.target.get("num-cores", 1))

    def source(self, workload: Workload) -> ScheduleSource:
        """Where the schedules of a dense kernel and its pruned forms come from."""
        return find_source(workload, self.target, [self.database], self.seeds)


@contextmanager
def open_session(
    board: Board, cache: Path, *, executor: str | None = None, tracker: str | None = None
) -> Iterator[Session]:
    """Open a session; workers stop and files close at the end of the block.

    It begins when no other process has one for the same board and cache: two would mix up their
    records, and disturb each other's measurements.

    Args:
        board: the board to build for.
        cache: directory that keeps tuned schedules and measurements over runs.
        executor: where kernels are built, ``dask://HOST:PORT``; this machine by default.
        tracker: ``HOST:PORT`` of the tracker that knows the board's servers, where it is not the
            one of the board file or of the environment.

    Raises:
        BoardError: if the board or its tracker, or the executor, cannot be reached.
    """
    target, folder = board.tvm_target(), cache / board.fingerprint
    with open_executor(executor) as builders:
        measurer = MEASURERS[board.connection](board, builders, tracker)
        try:
            with open_records(cache / "measurements.sqlite") as records, sole_writer(folder):
                database = open_database(folder)
                seeds = seed_library(target)
                yield Session(board, target, measurer, database, records, seeds)
        finally:
            measurer.close()
