import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from small_kernels import (
    ABORTS,
    DOES_NOT_COMPILE,
    ENDLESS,
    FINE,
    MODULE,
    SLEEPS,
    UNDEFINED,
    module,
)

from tvm_prune.measure import LocalMeasurer, Repeats
from tvm_prune.measure.pool import WorkerPool
from tvm_prune.measure.repeats import SITTINGS
from tvm_prune.measurement import Artifact, Failure, Measurement
from tvm_prune.tuning import kernel_calls, open_database, tune

SCRIPT = f"""
import tvm
from tvm_prune.board import load_board
from tvm_prune.measure import LocalMeasurer
print("this script starts")
module = tvm.script.from_source('''{MODULE.format(FINE)}''')
measurer = LocalMeasurer(load_board("host").tvm_target(), builders=2)
print([type(result).__name__ for result in measurer.run(measurer.build([module, module]))])
measurer.close()
"""


@pytest.fixture(scope="module")
def measurer(target):
    measurer = LocalMeasurer(target, builders=1, run_timeout=2, repeats=Repeats(samples=3))
    yield measurer
    measurer.close()


def outcomes(measurer: LocalMeasurer, *statements: str) -> list[Measurement | Failure]:
    built = measurer.build([module(statement) for statement in statements])
    assert all(isinstance(artifact, Artifact) for artifact in built)
    return measurer.run([artifact for artifact in built if isinstance(artifact, Artifact)])


def test_a_kernel_is_built_and_measured(measurer, kernel) -> None:
    [artifact] = measurer.build([kernel(32)])
    assert isinstance(artifact, Artifact)
    assert artifact.arguments == (("float32", (32, 32)),) * 3
    [measurement] = measurer.run([artifact])
    assert isinstance(measurement, Measurement)
    assert measurement.unit == measurer.unit == "seconds"
    assert len(measurement.samples) == 3
    assert all(0 < sample < 1 for sample in measurement.samples)


def test_processes_for_the_next_models_start_when_models_were_measured(
    target, library, squares
) -> None:
    measurer = LocalMeasurer(target)
    before = {child.pid for child in psutil.Process().children()}
    measurer.time_models([library(16)], squares(16), rounds=SITTINGS)
    waiting = {child.pid for child in psutil.Process().children()} - before
    assert len(waiting) == SITTINGS
    measurer.time_models([library(16)], squares(16), rounds=SITTINGS)
    assert not waiting & {child.pid for child in psutil.Process().children()}
    measurer.close()
    assert {child.pid for child in psutil.Process().children()} == before


def test_kernels_wait_for_processes_that_are_starting(
    measurer, kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    [artifact] = measurer.build([kernel(32)])
    events = []
    run, settle = WorkerPool.map, WorkerPool.settle
    monkeypatch.setattr(WorkerPool, "map", lambda *job: (events.append("run"), run(*job))[1])
    monkeypatch.setattr(WorkerPool, "settle", lambda pool: (events.append("wait"), settle(pool))[0])
    measurer.run([artifact])
    assert events.index("wait") < events.index("run")


def test_a_kernel_takes_at_least_as_long_as_it_sleeps(measurer) -> None:
    """The one duration that no other work on the machine can shorten."""
    [measurement] = outcomes(measurer, SLEEPS)
    assert min(measurement.samples) >= 0.02


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        (ENDLESS, "timed out after 2 s"),
        (ABORTS, "SIGABRT"),
        (UNDEFINED, "undefined symbol: nobody_defines_this"),
    ],
)
def test_a_kernel_that_does_not_run_fails_alone(statement, cause, measurer) -> None:
    before, failed, after = outcomes(measurer, FINE, statement, FINE)
    assert isinstance(before, Measurement)
    assert isinstance(failed, Failure)
    assert failed.stage == "run"
    assert cause in failed.cause
    assert isinstance(after, Measurement)


def test_a_kernel_that_does_not_compile_fails_alone(measurer) -> None:
    before, failed, after = measurer.build([module(s) for s in (FINE, DOES_NOT_COMPILE, FINE)])
    assert isinstance(before, Artifact)
    assert isinstance(failed, Failure)
    assert failed.stage == "build"
    assert "possible type mismatch: llvm.sqrt" in failed.cause
    assert isinstance(after, Artifact)


def test_measuring_works_from_a_script_without_a_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    finished = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        check=False,
    )
    assert finished.stdout.splitlines() == [
        "this script starts",
        "['Measurement', 'Measurement']",
    ], finished.stderr


def test_closing_deletes_the_artifacts(target) -> None:
    measurer = LocalMeasurer(target, builders=1)
    [artifact] = measurer.build([module(FINE)])
    assert artifact.path.exists()
    measurer.close()
    assert not artifact.path.parent.parent.exists()


@pytest.mark.parametrize(
    ("seconds_per_call", "number", "samples"),
    [(1e-6, 10_000, 5), (4e-3, 3, 5), (0.05, 1, 5), (0.2, 1, 2), (3.0, 1, 1)],
)
def test_fast_code_is_called_more_often_and_slow_code_is_repeated_less(
    seconds_per_call, number, samples
) -> None:
    repeats = Repeats(samples=5, seconds=0.01, total_seconds=0.4)
    assert repeats.plan(seconds_per_call) == (number, samples)


def test_kernels_are_tuned_on_this_machine(
    measurer, target, lowered_matmul, tmp_path: Path
) -> None:
    [call] = kernel_calls(lowered_matmul(64))
    report = tune(
        {call.workload: 1.0}, target, measurer, open_database(tmp_path), trials_per_kernel=4
    )
    assert report.trials == 4
    assert report.failures == ()
    assert report.seconds.build > 0
    assert report.seconds.run > 0
