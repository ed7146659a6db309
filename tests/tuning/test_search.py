from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tvm_prune.measure.simulated import SimulatedMeasurer
from tvm_prune.measurement import Artifact, Failure, Measurement
from tvm_prune.tuning import (
    FailureCount,
    SearchSettings,
    TuningProgress,
    count_trials,
    kernel_calls,
    lower,
    open_database,
    tune,
    tuned_trace,
)

QUICK = SearchSettings(trials_per_round=4, population=16, generations=1, warm_up=4)


class FaultyMeasurer(SimulatedMeasurer):
    """Builds every third kernel and runs every second of those."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = {"build": 0, "run": 0}

    def build(self, modules: Sequence[Any]) -> list[Artifact | Failure]:
        built = super().build(modules)
        return [self._fail("build", 3, "no registers left", item) for item in built]

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        return [
            self._fail("run", 2, "illegal instruction", item) for item in super().run(artifacts)
        ]

    def _fail(self, stage: str, period: int, cause: str, item: Any) -> Any:
        self.seen[stage] += 1
        return item if self.seen[stage] % period == 0 else Failure(stage, cause)


class InterruptedMeasurer(SimulatedMeasurer):
    """The user presses Ctrl-C in the third round."""

    rounds = 0

    def build(self, modules: Sequence[Any]) -> list[Artifact | Failure]:
        self.rounds += 1
        if self.rounds == 3:
            raise KeyboardInterrupt
        return super().build(modules)


@pytest.fixture
def measurer():
    measurer = SimulatedMeasurer()
    yield measurer
    measurer.close()


def test_tuning_records_every_trial_and_finds_a_trace(conv, target, measurer, tmp_path) -> None:
    workload = conv(16, 16)
    database = open_database(tmp_path)
    report = tune({workload: 1}, target, measurer, database, trials_per_kernel=10, settings=QUICK)
    assert report.trials == 10
    assert report.failures == ()
    assert count_trials(open_database(tmp_path), target) == {workload.key: 10}
    assert tuned_trace(open_database(tmp_path), workload, target) is not None


def test_the_best_trial_is_the_trace_that_is_found_again(conv, target, measurer, tmp_path) -> None:
    workload = conv(16, 16)
    database = open_database(tmp_path)
    report = tune({workload: 1}, target, measurer, database, trials_per_kernel=10, settings=QUICK)
    costs = [float(record.run_secs[0]) for record in database.get_all_tuning_records()]
    best = min(database.get_all_tuning_records(), key=lambda record: float(record.run_secs[0]))
    assert len(set(costs)) > 1
    assert report.kernels[0].best == pytest.approx(min(costs) / 1e-9)
    assert report.kernels[0].unit == "simulated"
    assert str(tuned_trace(database, workload, target)) == str(best.trace)


def test_a_kernel_with_enough_trials_is_not_tuned_again(conv, target, measurer, tmp_path) -> None:
    first, second = conv(8, 8), conv(8, 16)
    tune({first: 1}, target, measurer, open_database(tmp_path), trials_per_kernel=6, settings=QUICK)
    report = tune(
        {first: 1, second: 1},
        target,
        measurer,
        open_database(tmp_path),
        trials_per_kernel=6,
        settings=QUICK,
    )
    assert report.reused == 1
    assert [kernel.key for kernel in report.kernels] == [second.key]


def test_an_interrupted_run_keeps_its_trials_and_continues(
    conv, target, measurer, tmp_path
) -> None:
    workload = conv(16, 16)
    interrupted = InterruptedMeasurer()
    with pytest.raises(KeyboardInterrupt):
        tune(
            {workload: 1},
            target,
            interrupted,
            open_database(tmp_path),
            trials_per_kernel=12,
            settings=QUICK,
        )
    interrupted.close()
    database = open_database(tmp_path)
    assert count_trials(database, target) == {workload.key: 5}
    report = tune({workload: 1}, target, measurer, database, trials_per_kernel=12, settings=QUICK)
    assert report.trials == 7
    assert count_trials(database, target) == {workload.key: 12}


def test_failures_are_counted_by_stage_and_cause(conv, target, tmp_path, caplog) -> None:
    faulty = FaultyMeasurer()
    report = tune(
        {conv(16, 16): 1},
        target,
        faulty,
        open_database(tmp_path),
        trials_per_kernel=12,
        settings=QUICK,
    )
    faulty.close()
    assert report.trials == 12
    assert report.failures == (
        FailureCount("build", "no registers left", 8),
        FailureCount("run", "illegal instruction", 2),
    )
    assert report.kernels[0].best is not None
    assert "8 of 12 trials failed to build: no registers left" in caplog.text


def test_a_kernel_without_loops_to_tile_gets_few_trials(
    conv_module, target, measurer, tmp_path, capfd
) -> None:
    calls = kernel_calls(lower(conv_module(8, 8, pooled=True), target))
    pooling = calls[-1].workload
    report = tune({pooling: 1}, target, measurer, open_database(tmp_path), trials_per_kernel=64)
    assert report.trials == SearchSettings().trials_without_tiles
    assert tune({pooling: 1}, target, measurer, open_database(tmp_path)).reused == 1
    assert "Unknown schedule rule" not in capfd.readouterr().err


def test_progress_tells_trials_after_every_round(conv, target, measurer, tmp_path: Path) -> None:
    told: list[TuningProgress] = []
    tune(
        {conv(16, 16): 1},
        target,
        measurer,
        open_database(tmp_path),
        trials_per_kernel=10,
        settings=QUICK,
        on_progress=told.append,
    )
    assert [progress.trials for progress in told] == [1, 5, 9, 10]
    assert {progress.planned for progress in told} == {10}
    bests = [progress.best for progress in told]
    assert bests == sorted(bests, reverse=True)


def test_the_costliest_kernel_is_tuned_first(conv, target, measurer, tmp_path) -> None:
    small, large = conv(8, 8), conv(16, 16)
    order: list[str] = []
    for weight, expected in ((1, large), (100, small)):
        tune(
            {small: weight, large: 1},
            target,
            measurer,
            open_database(tmp_path / str(weight)),
            trials_per_kernel=1,
            on_progress=lambda progress: order.append(progress.key),
        )
        assert order[0] == expected.key
        order.clear()
