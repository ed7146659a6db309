import subprocess
import sys

import pytest

from tvm_prune.measure.simulated import SimulatedMeasurer
from tvm_prune.tuning import (
    SearchSettings,
    count_trials,
    open_database,
    sole_writer,
    tune,
    tuned_trace,
)

RECORDS = "database_tuning_record.json"


@pytest.fixture(scope="module")
def content(conv, target, tmp_path_factory) -> dict[str, bytes]:
    """Files of a database with three trials of one kernel."""
    folder = tmp_path_factory.mktemp("database")
    measurer = SimulatedMeasurer()
    settings = SearchSettings(trials_per_round=2, population=8, generations=1)
    database = open_database(folder)
    tune({conv(8, 8): 1}, target, measurer, database, trials_per_kernel=3, settings=settings)
    measurer.close()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write(content: dict[str, bytes], folder) -> None:
    for name, data in content.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("kept", [1, 100, -2])
def test_a_truncated_last_record_is_dropped_and_the_others_stay(
    kept, content, conv, target, tmp_path
) -> None:
    *complete, last = content[RECORDS].splitlines(keepends=True)
    write({**content, RECORDS: b"".join([*complete, last[:kept]])}, tmp_path)
    assert count_trials(open_database(tmp_path), target) == {conv(8, 8).key: 2}
    assert (tmp_path / RECORDS).read_bytes() == b"".join(complete)


def test_a_missing_newline_does_not_join_two_records(content, conv, target, tmp_path) -> None:
    write({**content, RECORDS: content[RECORDS].rstrip(b"\n")}, tmp_path)
    assert count_trials(open_database(tmp_path), target) == {conv(8, 8).key: 3}
    assert (tmp_path / RECORDS).read_bytes() == content[RECORDS]


def test_a_truncated_workload_does_not_spoil_the_database(content, target, conv, tmp_path) -> None:
    workloads = content["database_workload.json"]
    write({"database_workload.json": workloads[:-50], RECORDS: b""}, tmp_path)
    assert tuned_trace(open_database(tmp_path), conv(8, 8), target) is None


def test_records_of_another_target_are_not_used(content, conv, target, tmp_path) -> None:
    from tvm.target import Target

    write(content, tmp_path)
    other = Target({"kind": "llvm", "num-cores": 64})
    database = open_database(tmp_path)
    assert tuned_trace(database, conv(8, 8), target) is not None
    assert tuned_trace(database, conv(8, 8), other) is None
    assert count_trials(database, other) == {}


WRITER = """
import sys
from pathlib import Path
from tvm_prune.tuning import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(folder) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_second_writer_waits_for_the_first_even_if_that_is_killed(tmp_path) -> None:
    with writer(tmp_path) as first:
        assert first.stdout.readline() == "writing\n"
        with writer(tmp_path) as second:
            assert "Another run is using" in second.stderr.readline()
            first.kill()
            assert second.stdout.readline() == "writing\n"
            second.stdin.close()
            assert second.wait() == 0


def test_writers_of_other_databases_and_the_same_thread_do_not_wait(tmp_path) -> None:
    with writer(tmp_path / "one") as other:
        assert other.stdout.readline() == "writing\n"
        with sole_writer(tmp_path / "two"), sole_writer(tmp_path / "two"):
            pass
        other.stdin.close()
