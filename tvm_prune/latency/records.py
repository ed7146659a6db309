"""Measurements on disk: one SQLite file a cache directory, a row a measurement.

The write-ahead log makes every batch of rows durable as soon as it is written, so a killed run
loses at most the batch that was under way.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tvm_prune.errors import MeasureError
from tvm_prune.measurement import Failure, Measurement

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kernel (
    board TEXT NOT NULL, workload TEXT NOT NULL, schedule TEXT NOT NULL,
    unit TEXT NOT NULL, samples TEXT NOT NULL, failure TEXT, measured_at REAL NOT NULL,
    PRIMARY KEY (board, workload, schedule)
)
"""

_SELECT = "SELECT unit, samples, failure FROM kernel"


@dataclass(frozen=True)
class RecordKey:
    """What a measurement is of.

    Attributes:
        board: fingerprint of the board.
        workload: key of the kernel at its extents.
        schedule: key of the schedule trace the kernel was built with.
    """

    board: str
    workload: str
    schedule: str


class Records:
    """Kernel measurements, kept over runs.

    Raises:
        MeasureError: if the file is not a database of measurements.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MeasureError(
                f"Cannot keep measurements in {path.parent} ({error.strerror}); "
                "choose another directory with --cache."
            ) from error
        try:
            self._connection = sqlite3.connect(path, timeout=60.0)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(_SCHEMA)
            self._connection.execute(f"{_SELECT} LIMIT 0")
            self._connection.commit()
        except sqlite3.DatabaseError as error:
            raise MeasureError(
                f"{path} is not a database of measurements ({error}); move it away, or choose "
                "another directory with --cache."
            ) from error

    def get(self, key: RecordKey) -> Measurement | Failure | None:
        """The measurement stored under a key, or why there is none, or None if never tried."""
        row = self._connection.execute(
            f"{_SELECT} WHERE board = ? AND workload = ? AND schedule = ?",
            (key.board, key.workload, key.schedule),
        ).fetchone()
        return None if row is None else _outcome(*row)

    def put(self, outcomes: Mapping[RecordKey, Measurement | Failure]) -> None:
        """Store measurements; an older one under the same key is replaced."""
        now = time.time()
        self._connection.executemany(
            "INSERT OR REPLACE INTO kernel VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (key.board, key.workload, key.schedule, *_row(outcome), now)
                for key, outcome in outcomes.items()
            ],
        )
        self._connection.commit()

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT COUNT(*) FROM kernel").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@contextmanager
def open_records(path: Path) -> Iterator[Records]:
    """Records that are closed at the end of the block."""
    records = Records(path)
    try:
        yield records
    finally:
        records.close()


def _row(outcome: Measurement | Failure) -> tuple[str, str, str | None]:
    if isinstance(outcome, Measurement):
        return outcome.unit, json.dumps(outcome.samples), None
    return "", "[]", json.dumps([outcome.stage, outcome.cause])


def _outcome(unit: str, samples: str, failure: str | None) -> Measurement | Failure:
    if failure is not None:
        return Failure(*json.loads(failure))
    return Measurement(tuple(json.loads(samples)), unit)
