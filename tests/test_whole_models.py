"""What whole models cost: measured until the machine is calm, in turns, and not only once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tvm_prune.latency import Records, Widths, open_records
from tvm_prune.measurement import Measurement
from tvm_prune.whole_models import WholeModels

CALM = Measurement((1.0, 1.01, 1.02), "seconds")
DISTURBED = Measurement((1.0, 1.5, 2.0), "seconds")
WORSE = Measurement((1.0, 2.0, 4.0), "seconds")


class Sittings:
    """A measurer that plays a list of measurements; the last one repeats."""

    unit = "seconds"

    def __init__(self, *told: Measurement | list[Measurement]) -> None:
        self.left = [each if isinstance(each, list) else [each] for each in told]
        self.asked = 0

    def time_models(self, libraries: Any, inputs: Any) -> list[Measurement]:
        self.asked += 1
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def kernels_of(widths: Widths) -> list[Any]:
    """A kernel by another name for every width."""
    return [SimpleNamespace(workload=SimpleNamespace(key=str(widths)))]


def whole_models(sittings: Sittings, records: Records) -> WholeModels:
    """Models of one group of four units that need no compiling."""
    board = SimpleNamespace(fingerprint="board")
    session = SimpleNamespace(measurer=sittings, records=records, board=board)
    compilation = SimpleNamespace(
        dense=(4,), kernel_calls=kernels_of, model=SimpleNamespace(inputs=())
    )
    models: Any = (session, compilation, [], Path(), None)
    return WholeModels(*models, built={((width,), None) for width in (2, 3, 4)})


@pytest.fixture
def records(tmp_path: Path) -> Any:
    with open_records(tmp_path / "measurements.sqlite") as opened:
        yield opened


def test_the_dense_model_is_measured_until_the_machine_is_calm(records: Records) -> None:
    sittings = Sittings(DISTURBED, WORSE, DISTURBED, CALM)
    models = whole_models(sittings, records)
    assert models.dense_cost() == CALM
    assert models.dense_cost() == CALM
    assert sittings.asked == 4


def test_a_machine_that_never_gets_calm_is_told_of(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    sittings = Sittings(WORSE, DISTURBED, WORSE)
    assert whole_models(sittings, records).dense_cost() == DISTURBED
    assert "spread by 33 %" in caplog.text


def test_other_models_are_looked_at_twice_at_most(records: Records) -> None:
    sittings = Sittings(WORSE)
    whole_models(sittings, records).measure([cast("Path", None)])
    assert sittings.asked == 2


def test_turns_that_are_slow_for_all_models_do_not_make_them_differ(records: Records) -> None:
    dense = Measurement((1.0, 1.0, 2.0, 3.0), "seconds")
    half = Measurement((0.5, 0.5, 1.0, 1.5), "seconds")
    sittings = Sittings([dense, half])
    first, second = whole_models(sittings, records).measure([cast("Path", None)] * 2)
    assert first == dense
    assert second.median == 0.5 * first.median
    assert second.spread == 0
    assert sittings.asked == 1


def test_models_that_do_not_differ_alike_in_all_turns_are_looked_at_again(records: Records) -> None:
    dense = Measurement((1.0, 2.0, 3.0), "seconds")
    unlike = [dense, Measurement((1.0, 1.0, 1.0), "seconds")]
    alike = [dense, Measurement((1.0, 2.0, 3.0), "seconds")]
    sittings = Sittings(unlike, alike)
    first, second = whole_models(sittings, records).measure([cast("Path", None)] * 2)
    assert second.median == first.median
    assert sittings.asked == 2


def test_exact_counts_are_left_as_they_are(records: Records) -> None:
    counts = [Measurement((10.0,), "instructions"), Measurement((7.0,), "instructions")]
    assert whole_models(Sittings(counts), records).measure([cast("Path", None)] * 2) == counts


def seconds(*samples: float) -> Measurement:
    return Measurement(samples, "seconds")


def test_a_model_that_is_measured_again_is_known_by_all_of_its_measurements(
    records: Records,
) -> None:
    dense = seconds(1.0, 1.0, 1.0)
    sittings = Sittings(dense, [dense, seconds(0.5, 0.5, 0.5)], [dense, seconds(0.6, 0.6, 0.6)])
    models = whole_models(sittings, records)
    assert models.dense_cost() == dense
    assert models.cost((2,)).median == 0.5
    assert [cost.median for cost in models.measured_again([(2,)])] == [pytest.approx(0.55)]
    assert models.cost((2,)).samples == (0.5, 0.5, 0.5, 0.6, 0.6, 0.6)
    assert sittings.asked == 3


def test_models_that_are_measured_again_take_turns_and_a_drift_is_taken_out(
    records: Records,
) -> None:
    slowed = [seconds(2.0, 2.0), seconds(1.0, 1.0), seconds(1.5, 1.5)]
    models = whole_models(Sittings(seconds(1.0, 1.0), slowed), records)
    models.dense_cost()
    assert [cost.median for cost in models.measured_again([(2,), (3,)])] == [0.5, 0.75]


def test_of_many_measurements_the_latest_are_kept(records: Records) -> None:
    models = whole_models(Sittings(seconds(1.0)), records)
    models.learn((2,), seconds(1.0), seconds(*[0.5] * 30))
    for _ in range(4):
        cost = models.learn((2,), seconds(1.0), seconds(*[0.6] * 30))
    assert cost.median == 0.6
    assert len(cost.samples) < 100
