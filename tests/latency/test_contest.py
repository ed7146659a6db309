"""The fastest of the promising schedules wins, by measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from small_models import Kernels
from tvm.target import Target

from tvm_prune.errors import MeasureError, TuningError
from tvm_prune.latency import Contest, Records, open_records
from tvm_prune.latency.contest import FINALISTS
from tvm_prune.measure.simulated import SimulatedMeasurer
from tvm_prune.measurement import LOST, Artifact, Failure, Measurement
from tvm_prune.tuning import ScheduleSource, Workload, tile_slots
from tvm_prune.tuning.traces import with_tilings


@dataclass
class DealtMeasurer(SimulatedMeasurer):
    """Kernels get the outcomes that are written down, in order of their measurement."""

    outcomes: Sequence[float | Failure]
    built: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def build(self, modules: Sequence[Any]) -> list[Artifact | Failure]:
        self.built += modules
        return super().build(modules)

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        return [
            outcome if isinstance(outcome, Failure) else Measurement((outcome,), self.unit)
            for outcome, _ in zip(self.outcomes, artifacts, strict=False)
        ]


class ImpossibleSource(ScheduleSource):
    """Has no schedule."""

    def finalists(self, workload: Workload, target: Target, most: int) -> list[Any]:
        raise TuningError("there is none")


@dataclass(frozen=True)
class CountingSource(ScheduleSource):
    """Remembers what schedules it was asked for."""

    asked: list[Workload] = field(default_factory=list)

    def finalists(self, workload: Workload, target: Target, most: int) -> list[Any]:
        self.asked.append(workload)
        return super().finalists(workload, target, most)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with open_records(tmp_path / "m.sqlite") as records:
        yield records


@pytest.fixture(scope="module")
def odd(kernels, target: Target) -> tuple[ScheduleSource, Workload]:
    """A convolution at a prime width, which its source offers several schedules for."""
    found: Kernels = kernels("residual")
    family = max(found.families, key=lambda family: len(family.factors))
    trace = family.source.plain(family.workload, target).trace
    tilings = [
        (1, 1, slot.extent // 8, 8) if slot.extent % 8 == 0 and len(slot.factors) == 4
        else slot.factors for slot in tile_slots(trace)
    ]  # fmt: skip
    source = ScheduleSource("own", with_tilings(trace, tilings))
    workload = family.workload_at(tuple(37 for _ in family.groups))
    assert len(source.offers(workload, target)) >= FINALISTS
    return source, workload


def contest(records: Records, target: Target, *outcomes: float | Failure) -> Contest:
    return Contest(DealtMeasurer(outcomes), records, "a board", target)


def programs(schedules: Sequence[Any]) -> list[str]:
    return [str(schedule.mod) for schedule in schedules]


@pytest.mark.parametrize("winner", range(FINALISTS))
def test_the_schedule_that_measures_fastest_wins(winner, odd, records, target) -> None:
    source, workload = odd
    costs = [2.0] * FINALISTS
    costs[winner] = 1.0
    chosen = contest(records, target, *costs).fastest([odd])
    assert programs(chosen) == programs([source.offers(workload, target)[winner]])


def test_no_schedule_is_measured_twice(odd, records, target) -> None:
    first = contest(records, target, 3.0, 1.0)
    chosen = first.fastest([odd, odd])
    assert len(first.measurer.built) == FINALISTS
    again = contest(records, target)
    assert programs(again.fastest([odd])) == programs(chosen[:1])
    assert again.measurer.built == []


def test_the_schedules_of_a_kernel_are_looked_for_once(odd, records, target) -> None:
    source, workload = odd
    asked = CountingSource("own", source.trace)
    both = contest(records, target, 3.0, 1.0)
    first, again = both.fastest([(asked, workload)]), both.fastest([(asked, workload)])
    assert programs(first) == programs(again)
    assert len(asked.asked) == 1


def test_where_there_is_one_schedule_nothing_is_measured(odd, records, target) -> None:
    source = ScheduleSource("default")
    nothing = contest(records, target)
    [chosen] = nothing.fastest([(source, odd[1])])
    assert programs([chosen]) == programs(source.offers(odd[1], target))
    assert nothing.measurer.built == []
    assert len(records) == 0


def test_a_schedule_that_does_not_run_never_wins(odd, records, target) -> None:
    source, workload = odd
    broken = Failure("run", "crashed")
    chosen = contest(records, target, broken, 9.0).fastest([odd])
    assert programs(chosen) == programs([source.offers(workload, target)[1]])


def test_a_lost_board_is_told_and_what_it_measured_is_kept(odd, records, target) -> None:
    with pytest.raises(MeasureError, match="gone"):
        contest(records, target, 1.0, Failure(LOST, "gone")).fastest([odd])
    assert len(records) == 1


def test_the_cost_of_a_kernel_is_that_of_its_fastest_schedule(odd, records, target) -> None:
    first = contest(records, target, 3.0, 1.0)
    [cost] = first.costs([odd])
    assert isinstance(cost, Measurement)
    assert cost.median == 1.0
    assert records.get(first.key(*odd)) == cost
    assert first.measured == FINALISTS


def test_what_was_learned_of_a_kernel_is_not_measured_again_to_build_it(
    odd, records, target
) -> None:
    contest(records, target, 3.0, 1.0).costs([odd])
    builder = contest(records, target)
    source, workload = odd
    assert programs(builder.fastest([odd])) == programs([source.offers(workload, target)[1]])
    assert builder.measured == 0


def test_a_kernel_none_of_whose_schedules_runs_has_the_cause_instead_of_a_cost(
    odd, records, target
) -> None:
    broken = [Failure("run", cause) for cause in ("crashed", "hung", "crashed")]
    [outcome] = contest(records, target, *broken).costs([odd])
    assert outcome == broken[0]


def test_a_kernel_without_any_schedule_fails_alone(odd, records, target) -> None:
    impossible = ImpossibleSource("impossible"), odd[1]
    outcomes = contest(records, target, 3.0, 1.0).costs([impossible, odd])
    assert [type(outcome) for outcome in outcomes] == [Failure, Measurement]
    assert outcomes[0] == Failure("schedule", "there is none")
