import time
from pathlib import Path

import numpy as np
import pytest

from tvm_prune.errors import MeasureError
from tvm_prune.measure import (
    Repeats,
    jobs,
    measure_executable,
    measure_interleaved,
    run_executable,
)
from tvm_prune.measure.jobs import time_models
from tvm_prune.measure.pool import WorkerPool
from tvm_prune.measure.repeats import SITTINGS


def test_an_executable_computes_in_a_process_of_its_own(library, squares) -> None:
    inputs = squares(16)
    [product] = run_executable(library(16), inputs)
    np.testing.assert_allclose(product, inputs["left"] @ inputs["right"], rtol=1e-4, atol=1e-4)


def test_an_executable_is_measured_in_seconds_per_call(library, squares) -> None:
    measurement = measure_executable(library(16), squares(16), rounds=4)
    assert measurement.unit == "seconds"
    assert len(measurement.samples) == 4
    assert all(0 < sample < 1 for sample in measurement.samples)


def test_executables_are_measured_in_turns_and_told_apart(library, squares) -> None:
    fast, again = measure_interleaved(
        [library(16)] * 2, squares(16), rounds=3, repeats=Repeats(seconds=0.001)
    )
    assert len(fast.samples) == len(again.samples) == 3
    assert fast.samples != again.samples


def test_turns_alternate_between_the_executables(monkeypatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(jobs, "_bound_call", lambda path, _inputs: lambda: called.append(path))
    monkeypatch.setattr(jobs, "seconds_of", lambda _call: 1.0)
    samples = time_models(["a", "b"], {}, 3, Repeats(warm_up=0.0))
    assert called == ["a", "b"] * 3
    assert [len(taken) for taken in samples] == [3, 3]


def test_models_run_in_turns_for_a_while_before_they_are_timed(monkeypatch) -> None:
    called: list[tuple[str, float]] = []

    def bound(path: str, _inputs: object):
        return lambda: called.append((path, time.perf_counter()))

    monkeypatch.setattr(jobs, "_bound_call", bound)
    monkeypatch.setattr(jobs, "seconds_of", lambda _call: 1.0)
    start = time.perf_counter()
    samples = time_models(["a", "b"], {}, 3, Repeats(warm_up=0.05))
    *untimed, _, _, _, _, _, _ = called
    assert [path for path, _ in untimed[:4]] == ["a", "b", "a", "b"]
    assert all(at >= start + 0.05 for _, at in called[len(untimed) :])
    assert [len(taken) for taken in samples] == [3, 3]


def test_every_sitting_is_a_process_of_its_own(library, squares, monkeypatch) -> None:
    started: list[object] = []
    ensure = WorkerPool._ensure_worker
    monkeypatch.setattr(
        WorkerPool, "_ensure_worker", lambda *of: started.append(ensure(*of)) or started[-1]
    )
    measurement = measure_executable(library(16), squares(16), rounds=2 * SITTINGS)
    assert len({id(worker) for worker in started}) == SITTINGS
    assert len(measurement.samples) == 2 * SITTINGS


def test_what_is_written_to_a_path_anew_is_not_taken_for_what_was_there(
    library, squares, tmp_path: Path
) -> None:
    path = tmp_path / "model.so"
    for size in (16, 32):
        path.unlink(missing_ok=True)
        path.write_bytes(library(size).read_bytes())
        [product] = run_executable(path, squares(size))
        assert product.shape == (size, size)


def test_wrong_input_names_are_told(library, squares) -> None:
    inputs = squares(16)
    inputs["wrong"] = inputs.pop("left")
    with pytest.raises(MeasureError, match=r"takes \['left', 'right'\], not \['right', 'wrong'\]"):
        run_executable(library(16), inputs)


def test_a_missing_library_is_told(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"nowhere\.so"):
        run_executable(tmp_path / "nowhere.so", {})
