"""Measurements survive: reopening, kill -9, and nobody mistakes another file for them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.errors import MeasureError
from tvm_prune.latency import RecordKey, Records, open_records
from tvm_prune.machine import Conditions
from tvm_prune.measurement import Failure, Measurement

KEY = RecordKey("board", "workload", "schedule")
MEASURED = Measurement((1.5e-4, 1.25e-4, 1e-300), "seconds")

WRITER = """
import sys
from pathlib import Path
from tvm_prune.latency import RecordKey, Records
from tvm_prune.measurement import Measurement

records = Records(Path(sys.argv[1]))
number = 0
while True:
    records.put({RecordKey("board", str(number), "s"): Measurement((float(number),), "seconds")})
    print(number, flush=True)
    number += 1
"""

OLD_SCHEMA = """
CREATE TABLE kernel (
    board TEXT NOT NULL, workload TEXT NOT NULL, schedule TEXT NOT NULL,
    unit TEXT NOT NULL, samples TEXT NOT NULL, failure TEXT, measured_at REAL NOT NULL,
    PRIMARY KEY (board, workload, schedule)
)
"""
"""What the first version of the program made; its files said nothing of a version."""

outcomes = st.one_of(
    st.builds(
        Measurement,
        st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=5).map(tuple),
        st.sampled_from(["seconds", "instructions", "cycles"]),
        st.builds(
            Conditions,
            st.none() | st.floats(1e6, 1e10),
            st.none() | st.sampled_from(["performance", "ondemand,powersave"]),
            st.none() | st.floats(0, 1e3),
        ),
    ),
    st.builds(Failure, st.sampled_from(["schedule", "build", "run"]), st.text(max_size=30)),
)
keys = st.builds(RecordKey, st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "measurements.sqlite"


@given(stored=st.dictionaries(keys, outcomes, max_size=8))
def test_what_is_put_is_got(
    stored: dict[RecordKey, Measurement | Failure], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with open_records(tmp_path_factory.mktemp("records") / "m.sqlite") as records:
        records.put(stored)
        assert {key: records.get(key) for key in stored} == stored
        assert len(records) == len(stored)


def test_what_was_lost_says_nothing_and_is_not_kept(tmp_path: Path) -> None:
    with open_records(tmp_path / "r.sqlite") as records:
        records.put({KEY: MEASURED})
        records.put({KEY: Failure("lost", "the board is gone")})
        assert records.get(KEY) == MEASURED
        other = RecordKey("board", "other", "schedule")
        records.put({other: Failure("lost", "the board is gone")})
        assert not records.is_settled(other)


def test_records_outlive_the_process_that_wrote_them(path: Path) -> None:
    failure = Failure("build", "no registers left")
    other = RecordKey("board", "workload", "another schedule")
    with open_records(path) as records:
        records.put({KEY: MEASURED, other: failure})
    with open_records(path) as records:
        assert records.get(KEY) == MEASURED
        assert records.get(other) == failure


@pytest.mark.parametrize("field", ["board", "workload", "schedule"])
def test_board_workload_and_schedule_all_tell_records_apart(field: str, path: Path) -> None:
    with open_records(path) as records:
        records.put({KEY: MEASURED})
        assert records.get(RecordKey(**{**vars(KEY), field: "another"})) is None


def test_a_newer_measurement_replaces_the_older_one(path: Path) -> None:
    with open_records(path) as records:
        records.put({KEY: Failure("run", "timed out")})
        records.put({KEY: MEASURED})
        assert records.get(KEY) == MEASURED
        assert len(records) == 1


def test_a_killed_writer_loses_at_most_the_row_under_way(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(50)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [int(line) for line in writer.stdout]
    assert writer.returncode == -signal.SIGKILL
    with open_records(path) as records:
        for number in told:
            kept = records.get(RecordKey("board", str(number), "s"))
            assert kept == Measurement((float(number),), "seconds")
        assert len(told) <= len(records) <= len(told) + 1
        records.put({KEY: MEASURED})
        assert records.get(KEY) == MEASURED


def test_two_runs_share_one_file(path: Path) -> None:
    with open_records(path) as one, open_records(path) as other:
        one.put({KEY: MEASURED})
        assert other.get(KEY) == MEASURED


@pytest.fixture
def old(path: Path) -> Path:
    """A database of the first version, with a measurement and a failure in it."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute(OLD_SCHEMA)
        connection.executemany(
            "INSERT INTO kernel VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                ("board", "workload", "schedule", "seconds", "[2.0, 1.0, 3.0]", None, 1.5e9),
                ("board", "other", "schedule", "", "[]", '["run", "timed out"]', 1.5e9),
            ],
        )
    connection.close()
    return path


def test_a_database_of_the_first_version_keeps_its_rows_and_takes_new_ones(old: Path) -> None:
    for _ in range(2):
        with open_records(old) as records:
            assert records.get(KEY) == Measurement((2.0, 1.0, 3.0), "seconds")
            other = RecordKey("board", "other", "schedule")
            assert records.get(other) == Failure("run", "timed out")
            new = Measurement((1.0,), "seconds", Conditions(1e9, "performance", 0.5))
            records.put({RecordKey("board", "new", "schedule"): new})
            assert records.get(RecordKey("board", "new", "schedule")) == new
            assert len(records) == 3


def test_two_runs_may_open_a_database_of_the_first_version_at_once(old: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(old)]
    writers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    firsts = [writer.stdout and writer.stdout.readline() for writer in writers]
    for writer in writers:
        writer.kill()
        writer.communicate()
    assert firsts == ["0\n", "0\n"]


def test_the_share_of_outliers_is_a_column_of_its_own(path: Path) -> None:
    with open_records(path) as records:
        records.put({KEY: Measurement((1.0, 1.0, 1.0, 9.0), "seconds")})
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT outlier_share FROM kernel").fetchall() == [(0.25,)]
    connection.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    Records(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(MeasureError, match=r"newer version.*99.*update tvm_prune"):
        Records(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()


def test_another_database_is_not_altered(path: Path) -> None:
    path.parent.mkdir()
    _another_database(path)
    with pytest.raises(MeasureError):
        Records(path)
    with sqlite3.connect(path) as connection:
        [statement] = connection.execute("SELECT sql FROM sqlite_master").fetchone()
    connection.close()
    assert statement == "CREATE TABLE kernel (name TEXT)"


def _garbage(path: Path) -> None:
    path.write_bytes(b"these are not the bytes of a database" * 100)


def _directory(path: Path) -> None:
    path.mkdir()


def _another_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kernel (name TEXT)")
    connection.close()


@pytest.mark.parametrize("make", [_garbage, _directory, _another_database])
def test_what_is_no_database_of_measurements_is_refused(make, path: Path) -> None:
    path.parent.mkdir()
    make(path)
    with pytest.raises(MeasureError, match=r"measurements\.sqlite.*--cache"):
        Records(path)


def test_a_cache_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(MeasureError, match="--cache"):
        Records(tmp_path / "cache" / "measurements.sqlite")
