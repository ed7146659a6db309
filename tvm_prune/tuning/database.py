"""MetaSchedule's JSON database, opened so that a killed process does not spoil it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tvm.target import Target

from tvm_prune.tuning.context import provide_cpu_intrinsics
from tvm_prune.tuning.kernels import Workload

_LOG = logging.getLogger(__name__)

_WORKLOADS = "database_workload.json"
_RECORDS = "database_tuning_record.json"
_FAILED = 1e9
"""MetaSchedule stores 1e10 seconds for a candidate that could not be measured."""


def open_database(folder: Path) -> Any:
    """Open, or create, the tuning database of a cache directory.

    Every record is appended as one line when it is measured, so a killed process can leave at most
    one unfinished line; it is dropped here. Records refer to workloads by their number, so one
    process at a time may write to a folder: see :func:`sole_writer`.

    Args:
        folder: holds ``database_workload.json`` and ``database_tuning_record.json``.

    Returns:
        A MetaSchedule ``JSONDatabase``.
    """
    provide_cpu_intrinsics()
    from tvm.s_tir.meta_schedule.database import JSONDatabase

    folder.mkdir(parents=True, exist_ok=True)
    for name in (_WORKLOADS, _RECORDS):
        _drop_unfinished_line(folder / name)
    return JSONDatabase(work_dir=str(folder))


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process writes to a tuning database, and keep others waiting meanwhile.

    A process that is killed keeps nobody waiting; a thread does not wait for itself.

    Args:
        folder: of the database; it is made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.warning("Another run is using %s; this one goes on when that has ended.", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def count_trials(database: Any, target: Target) -> Counter[str]:
    """How many trials, failed ones included, each workload has on `target`, by workload key."""
    return Counter(
        Workload(record.workload.mod).key
        for record in database.get_all_tuning_records()
        if _same_target(record.target, target)
    )


def best_record(database: Any, workload: Workload, target: Target) -> Any | None:
    """The fastest measured ``TuningRecord`` of a workload on `target`, or None."""
    return next(iter(fastest_records(database, workload, target, 1)), None)


def fastest_records(database: Any, workload: Workload, target: Target, count: int) -> list[Any]:
    """The `count` fastest measured ``TuningRecord`` of a workload on `target`, fastest first.

    MetaSchedule's own query ignores the target.
    """
    if not database.has_workload(workload.mod):
        return []
    records = database.get_top_k(database.commit_workload(workload.mod), len(database))
    measured = (
        record
        for record in records
        if _same_target(record.target, target) and float(record.run_secs[0]) < _FAILED
    )
    return list(islice(measured, count))


def best_records(database: Any, target: Target) -> list[Any]:
    """The fastest measured ``TuningRecord`` of every workload on `target`."""
    best: dict[str, Any] = {}
    for record in database.get_all_tuning_records():
        seconds = float(record.run_secs[0])
        if seconds >= _FAILED or not _same_target(record.target, target):
            continue
        key = Workload(record.workload.mod).key
        if key not in best or seconds < float(best[key].run_secs[0]):
            best[key] = record
    return list(best.values())


def _same_target(one: Target | None, other: Target) -> bool:
    """Whether two targets are described alike; the objects differ after a round trip."""
    return one is not None and json.loads(str(one)) == json.loads(str(other))


def _drop_unfinished_line(path: Path) -> None:
    """Make `path` end with a complete line of JSON and a newline."""
    if not path.exists():
        return
    content = path.read_bytes()
    if not content or content.endswith(b"\n"):
        return
    start = content.rfind(b"\n") + 1
    try:
        json.loads(content[start:])
    except ValueError:
        _LOG.warning("dropping an unfinished line at the end of %s", path)
        with path.open("r+b") as file:
            file.truncate(start)
    else:
        with path.open("ab") as file:
            file.write(b"\n")
