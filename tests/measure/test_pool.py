import ctypes
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from pool_jobs import presence, step_by_step

from tvm_prune.errors import MeasureError
from tvm_prune.measure.pool import Failed, WorkerPool


@pytest.fixture
def pool():
    pool = WorkerPool(2, timeout=60)
    yield pool
    pool.close()


@pytest.fixture
def impatient():
    pool = WorkerPool(1, timeout=0.5)
    yield pool
    pool.close()


@pytest.fixture
def patient():
    pool = WorkerPool(1, timeout=3)
    yield pool
    pool.close()


def test_results_are_in_the_order_of_the_jobs(pool) -> None:
    delays = [0.3, 0.0, 0.1, 0.0]
    assert pool.map(time.sleep, [(delay,) for delay in delays]) == [None] * 4
    assert pool.map(math.factorial, [(n,) for n in range(6)]) == [1, 1, 2, 6, 24, 120]


def test_workers_are_kept_from_one_call_to_the_next(pool) -> None:
    first = set(pool.map(os.getpid, [()] * 4))
    assert len(first) == 2
    assert set(pool.map(os.getpid, [()] * 4)) <= first


def test_jobs_that_take_turns_run_one_at_a_time_each_in_a_process_of_its_own(pool) -> None:
    first, second = pool.take_turns(presence, [(0.2,), (0.1,)])
    assert first[0] != second[0]
    assert first[2] <= second[1]


def test_a_process_ends_with_its_turn(pool) -> None:
    turns = pool.take_turns(presence, [(0.0,), (0.0,)])
    process, _, _ = next(turns)
    assert not psutil.pid_exists(process)
    next(turns)


def test_turns_run_in_the_processes_that_were_launched_for_them(pool) -> None:
    before = {child.pid for child in psutil.Process().children()}
    pool.launch(2)
    launched = {child.pid for child in psutil.Process().children()} - before
    assert {process for process, _, _ in pool.take_turns(presence, [(0.0,), (0.0,)])} == launched


def test_turns_never_run_in_a_process_that_was_used(pool) -> None:
    used = set(pool.map(os.getpid, [()] * 4))
    assert not used & {process for process, _, _ in pool.take_turns(presence, [(0.0,), (0.0,)])}


def test_a_pool_is_settled_when_its_processes_have_imported_everything(tmp_path: Path) -> None:
    started = tmp_path / "started"
    pool = WorkerPool(
        1, timeout=60, imports=("pool_slow_import",), environment={"STARTED": str(started)}
    )
    pool.launch(1)
    assert not started.exists()
    pool.settle()
    assert started.exists()
    pool.close()


def test_a_turn_that_crashes_costs_that_turn_only(pool) -> None:
    failed, fine = pool.take_turns(step_by_step, [([None],), ([0.0],)])
    assert isinstance(failed, Failed)
    assert "SIGSEGV" in failed.cause
    assert fine == "done"


def test_a_worker_is_replaced_after_its_uses() -> None:
    pool = WorkerPool(1, timeout=60, maximum_uses=2)
    first, second, third = pool.map(os.getpid, [()] * 3)
    pool.close()
    assert first == second
    assert third != first


def test_a_job_that_raises_fails_with_its_message_and_keeps_its_worker(pool) -> None:
    before = set(pool.map(os.getpid, [()] * 2))
    failed, fine = pool.map(math.sqrt, [(-1,), (4,)])
    assert failed == Failed("ValueError: math domain error")
    assert fine == 2
    assert set(pool.map(os.getpid, [()] * 2)) == before


def test_a_job_that_crashes_fails_with_the_signal_and_the_next_one_succeeds(pool) -> None:
    jobs = [(0,), (0,), (0,)]
    for failed in pool.map(ctypes.string_at, jobs):
        assert isinstance(failed, Failed)
        assert "SIGSEGV" in failed.cause
    assert pool.map(math.sqrt, [(4,), (9,)]) == [2, 3]


def test_what_a_crashing_job_printed_is_part_of_its_cause(pool) -> None:
    [failed] = pool.map(os.system, [("echo out of registers >&2; kill -ABRT $PPID; sleep 1",)])
    assert isinstance(failed, Failed)
    assert "SIGABRT" in failed.cause
    assert failed.cause.endswith("out of registers")


def test_a_job_that_hangs_fails_in_time_and_the_next_one_succeeds(impatient) -> None:
    hanging, fine = impatient.map(time.sleep, [(3600,), (0,)])
    assert hanging == Failed("timed out after 0.5 s")
    assert fine is None


def test_a_job_that_shows_signs_of_life_may_take_longer_than_the_time_out(patient) -> None:
    assert patient.map(step_by_step, [([1.2] * 3,)]) == ["done"]


def test_a_job_that_hangs_or_crashes_tells_what_it_was_at(patient) -> None:
    hanging, crashing, raising = patient.map(
        step_by_step, [([0.0, 0.0, 3600.0],), ([0.0, None],), ([0.0, "x"],)]
    )
    assert hanging == Failed("timed out after 3 s", at=2)
    assert "SIGSEGV" in crashing.cause
    assert crashing.at == 1
    assert raising.cause.startswith("TypeError")
    assert raising.at == 1


def test_a_started_pool_has_its_workers_ready(pool) -> None:
    pool.start(2)
    assert len(set(pool.map(os.getpid, [()] * 4))) == 2


@pytest.mark.parametrize(
    "use",
    [lambda pool: pool.settle(), lambda pool: list(pool.take_turns(presence, [(0.0,)]))],
    ids=["settle", "turns"],
)
def test_a_worker_that_does_not_start_is_told_and_its_pool_can_be_closed(use) -> None:
    pool = WorkerPool(1, timeout=60, imports=("no_such_module",))
    pool.launch(1)
    with pytest.raises(MeasureError, match=r"worker does not start: worker ended \(exit 1\)"):
        use(pool)
    pool.close()


def test_a_worker_that_was_killed_between_two_calls_is_replaced(impatient) -> None:
    [before] = impatient.map(os.getpid, [()])
    os.kill(before, signal.SIGKILL)
    psutil.Process(before).wait(10)
    [after] = impatient.map(os.getpid, [()])
    assert isinstance(after, int)
    assert after != before


def test_a_job_that_cannot_be_sent_fails_alone(pool) -> None:
    failed, fine = pool.map(math.sqrt, [(open(os.devnull),), (4,)])  # noqa: SIM115
    assert isinstance(failed, Failed)
    assert "cannot be sent" in failed.cause
    assert fine == 2


def test_closing_ends_all_workers(pool) -> None:
    workers = pool.map(os.getpid, [()] * 4)
    pool.close()
    assert not any(psutil.pid_exists(worker) for worker in workers)


def test_workers_end_amid_a_job_when_their_parent_is_killed(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, time
            from tvm_prune.measure.pool import WorkerPool
            pool = WorkerPool(1, timeout=600)
            print(*pool.map(os.getpid, [()]), flush=True)
            pool.map(time.sleep, [(600,)])
            """
        )
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    worker.wait(timeout=10)
