from pathlib import Path

import pytest

from tvm_prune.measure.simulated import SimulatedMeasurer
from tvm_prune.measurement import Failure, Measurement
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.metaschedule import (
    MeasurerBuilder,
    MeasurerRunner,
    run_seconds,
    runner_result,
)


def test_stock_metaschedule_tunes_with_a_measurer(conv, target, tmp_path: Path) -> None:
    context = tune_context(conv(8, 8).mod, target)
    from tvm.s_tir import meta_schedule as ms

    measurer = SimulatedMeasurer()
    database = ms.tune_tasks(
        tasks=[context],
        task_weights=[1.0],
        work_dir=str(tmp_path),
        max_trials_global=4,
        builder=MeasurerBuilder(measurer),
        runner=MeasurerRunner(measurer),
        cost_model="random",
        measure_callbacks=[ms.measure_callback.AddToDatabase()],
    )
    measurer.close()
    costs = [float(record.run_secs[0]) for record in database.get_all_tuning_records()]
    assert len(costs) == 4
    assert all(0 < cost < 1 for cost in costs)


def test_a_failed_build_and_a_failed_run_are_told_to_metaschedule(conv, target) -> None:
    class Broken(SimulatedMeasurer):
        def build(self, modules):
            return [Failure("build", "no memory") for _ in modules]

    from tvm.s_tir.meta_schedule.builder import BuilderInput

    broken = Broken()
    [result] = MeasurerBuilder(broken).build([BuilderInput(conv(8, 8).mod, target)])
    broken.close()
    assert result.artifact_path is None
    assert result.error_msg == "build: no memory"
    failed = runner_result(Failure("run", "timed out"))
    assert failed.run_secs is None
    assert failed.error_msg == "run: timed out"


@pytest.mark.parametrize(("unit", "expected"), [("seconds", 2.0), ("instructions", 2e-9)])
def test_counts_become_small_numbers_of_seconds(unit: str, expected: float) -> None:
    assert run_seconds(Measurement((2.0,), unit)) == [expected]
