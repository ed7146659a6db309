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
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from tvm_prune.errors import MeasureError
from tvm_prune.machine import UNKNOWN, Conditions
from tvm_prune.measurement import Failure, Measurement, is_lost

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE IF NOT EXISTS kernel (
            board TEXT NOT NULL, workload TEXT NOT NULL, schedule TEXT NOT NULL,
            unit TEXT NOT NULL, samples TEXT NOT NULL, failure TEXT, measured_at REAL NOT NULL,
            PRIMARY KEY (board, workload, schedule)
        )
        """,
        "SELECT unit, samples, failure, measured_at FROM kernel LIMIT 0",
        "ALTER TABLE kernel ADD COLUMN outlier_share REAL",
        "ALTER TABLE kernel ADD COLUMN frequency_hz REAL",
        "ALTER TABLE kernel ADD COLUMN governor TEXT",
        "ALTER TABLE kernel ADD COLUMN load_average REAL",
    ),
    (
        "ALTER TABLE kernel ADD COLUMN temperature_c REAL",
        "ALTER TABLE kernel ADD COLUMN throttled TEXT",
    ),
)
"""Statements that lead from each version of the file (``PRAGMA user_version``) to the next one.

The first files had a table, but no version: their rows are kept and say nothing of conditions.
"""

_CONDITIONS = "frequency_hz, governor, load_average, temperature_c, throttled"
"""Columns of the fields of :class:`~tvm_prune.machine.Conditions`, in order."""

_COLUMNS = (
    "board, workload, schedule, unit, samples, failure, measured_at, outlier_share, " + _CONDITIONS
)
_SELECT = f"SELECT unit, samples, failure, {_CONDITIONS} FROM kernel"


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
        self._tried: set[RecordKey] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MeasureError(
                f"Cannot keep measurements in {path.parent} ({error.strerror}); "
                "choose another directory with --cache."
            ) from error
        try:
            self._connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            version = self._migrate()
            self._connection.execute(f"{_SELECT} LIMIT 0")
        except sqlite3.DatabaseError as error:
            raise MeasureError(
                f"{path} is not a database of measurements ({error}); move it away, or choose "
                "another directory with --cache."
            ) from error
        if version > len(_MIGRATIONS):
            raise MeasureError(
                f"{path} was written by a newer version of tvm_prune (its format is {version}, "
                f"this one knows up to {len(_MIGRATIONS)}); update tvm_prune, or choose another "
                "directory with --cache."
            )

    def _migrate(self) -> int:
        """Bring the file to the newest version, all or nothing; returns the version it has."""
        with self._transaction():
            [version] = self._connection.execute("PRAGMA user_version").fetchone()
            for statements in _MIGRATIONS[version:]:
                for statement in statements:
                    self._connection.execute(statement)
                version += 1
                self._connection.execute(f"PRAGMA user_version = {version}")
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Nobody else writes meanwhile; what is written counts at the end of the block."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def get(self, key: RecordKey) -> Measurement | Failure | None:
        """The measurement stored under a key, or why there is none, or None if never tried."""
        row = self._connection.execute(
            f"{_SELECT} WHERE board = ? AND workload = ? AND schedule = ?",
            (key.board, key.workload, key.schedule),
        ).fetchone()
        return None if row is None else _outcome(*row)

    def is_settled(self, key: RecordKey) -> bool:
        """Whether there is nothing to measure; what did not run in an earlier run may run now."""
        outcome = self.get(key)
        if isinstance(outcome, Failure) and outcome.stage == "run":
            return key in self._tried
        return outcome is not None

    def put(self, outcomes: Mapping[RecordKey, Measurement | Failure]) -> None:
        """Store measurements; an older one under the same key is replaced.

        What was lost is not stored: it says nothing about the kernel.
        """
        now = time.time()
        kept = {key: outcome for key, outcome in outcomes.items() if not is_lost(outcome)}
        self._tried.update(kept)
        rows = [
            (*astuple(key), *_text(outcome), now, *_conditions(outcome))
            for key, outcome in kept.items()
        ]
        with self._transaction():
            self._connection.executemany(
                f"INSERT OR REPLACE INTO kernel ({_COLUMNS}) "
                f"VALUES ({', '.join('?' * (_COLUMNS.count(',') + 1))})",
                rows,
            )

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


def _text(outcome: Measurement | Failure) -> tuple[str, str, str | None]:
    """Unit, samples and failure of a row."""
    if isinstance(outcome, Measurement):
        return outcome.unit, json.dumps(outcome.samples), None
    return "", "[]", json.dumps([outcome.stage, outcome.cause])


def _conditions(outcome: Measurement | Failure) -> tuple[float | str | None, ...]:
    """What a row tells about how it was measured."""
    if isinstance(outcome, Failure):
        return (None, *astuple(UNKNOWN))
    return (outcome.outlier_share, *astuple(outcome.conditions))


def _outcome(
    unit: str, samples: str, failure: str | None, *conditions: Any
) -> Measurement | Failure:
    if failure is not None:
        return Failure(*json.loads(failure))
    return Measurement(tuple(json.loads(samples)), unit, Conditions(*conditions))
