"""Plug a board into MetaSchedule: a builder and a runner that pass everything to a Measurer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerResult

from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer

_PER_SECOND = {"seconds": 1.0}
_SECONDS_PER_COUNT = 1e-9
"""MetaSchedule knows only seconds and takes 1e10 of them for a failure: counts are scaled."""


def run_seconds(measurement: Measurement) -> list[float]:
    """Samples as MetaSchedule's `run_secs`; counts become nanoseconds, which keeps their order."""
    scale = _PER_SECOND.get(measurement.unit, _SECONDS_PER_COUNT)
    return [sample * scale for sample in measurement.samples]


def runner_result(outcome: Measurement | Failure) -> RunnerResult:
    """What MetaSchedule's cost model and search are told about one candidate."""
    if isinstance(outcome, Failure):
        return RunnerResult(None, f"{outcome.stage}: {outcome.cause}")
    return RunnerResult(run_seconds(outcome), None)


@derived_object
class MeasurerBuilder(PyBuilder):  # type: ignore[misc]
    """MetaSchedule builder that compiles with a :class:`Measurer`.

    For use with MetaSchedule's own entry points, such as ``tune_tasks(builder=..., runner=...)``.
    MetaSchedule deletes the folder of every artifact it is done with.
    """

    def __init__(self, measurer: Measurer) -> None:
        super().__init__()
        self.measurer = measurer

    def build(self, build_inputs: Sequence[Any]) -> list[BuilderResult]:
        """Build every input; a failure becomes a result with an error message."""
        built = self.measurer.build([build_input.mod for build_input in build_inputs])
        return [
            BuilderResult(None, f"{result.stage}: {result.cause}")
            if isinstance(result, Failure)
            else BuilderResult(str(result.path), None)
            for result in built
        ]


@derived_object
class MeasurerRunner(PyRunner):  # type: ignore[misc]
    """MetaSchedule runner that measures with a :class:`Measurer`."""

    def __init__(self, measurer: Measurer) -> None:
        super().__init__()
        self.measurer = measurer

    def run(self, runner_inputs: Sequence[Any]) -> list[Any]:
        """Measure every input before returning; the futures are done already."""
        outcomes = self.measurer.run([_artifact(runner_input) for runner_input in runner_inputs])
        return [_Done(runner_result(outcome)) for outcome in outcomes]


@derived_object
class _Done(PyRunnerFuture):  # type: ignore[misc]
    """A runner future with its result in it."""

    def __init__(self, result: RunnerResult) -> None:
        super().__init__()
        self._result = result

    def done(self) -> bool:
        return True

    def result(self) -> RunnerResult:
        return self._result


def _artifact(runner_input: Any) -> Artifact:
    """The artifact that a runner input stands for."""
    described = (argument.as_json() for argument in runner_input.args_info)
    return Artifact(
        Path(str(runner_input.artifact_path)),
        tuple((str(dtype), tuple(int(n) for n in shape)) for _, dtype, shape in described),
    )
