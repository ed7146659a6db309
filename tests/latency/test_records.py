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

outcomes = st.one_of(
    st.builds(
        Measurement,
        st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=5).map(tuple),
        st.sampled_from(["seconds", "instructions", "cycles"]),
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
