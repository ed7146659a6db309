"""What the dense model costs decides what is planned: it is measured until the machine is calm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tvm_prune.latency import Records, open_records
from tvm_prune.measurement import Measurement
from tvm_prune.whole_models import WholeModels

CALM = Measurement((1.0, 1.01, 1.02), "seconds")
DISTURBED = Measurement((1.0, 1.5, 2.0), "seconds")
WORSE = Measurement((1.0, 2.0, 4.0), "seconds")


class Sittings:
    """A measurer that plays a list of measurements; the last one repeats."""

    unit = "seconds"

    def __init__(self, *told: Measurement) -> None:
        self.left = list(told)
        self.asked = 0

    def time_models(self, libraries: Any, inputs: Any) -> list[Measurement]:
        self.asked += 1
        return [self.left.pop(0) if len(self.left) > 1 else self.left[0]]


def whole_models(sittings: Sittings, records: Records) -> WholeModels:
    """Models of one group of four units that need no compiling."""
    board = SimpleNamespace(fingerprint="board")
    session = SimpleNamespace(measurer=sittings, records=records, board=board)
    compilation = SimpleNamespace(
        dense=(4,), kernel_calls=lambda widths: [], model=SimpleNamespace(inputs=())
    )
    models: Any = (session, compilation, [], Path(), None)
    return WholeModels(*models, built={((4,), None)})


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
