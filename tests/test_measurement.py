"""What follows from the repeats of a measurement."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.errors import MeasureError
from tvm_prune.measurement import LOST, Failure, Measurement, raise_if_lost

costs = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=20)


def measured(*samples: float) -> Measurement:
    return Measurement(samples, "seconds")


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        ((1.0,), 0.0),
        ((1.0, 1.0, 1.0, 1.0), 0.0),
        ((1.0, 1.02, 0.98, 1.01, 5.0), 0.2),
        ((5.0, 1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 0.1), 0.25),
        ((1.0, 1.0, 1.0, 1.009), 0.0),
        ((1.0, 2.0, 3.0, 4.0, 5.0), 0.0),
    ],
)
def test_outliers_are_far_from_the_median_by_the_spread_of_the_others(samples, share) -> None:
    assert measured(*samples).outlier_share == share


@given(samples=costs, scale=st.sampled_from([0.5, 2.0, 1024.0]))
def test_outliers_do_not_depend_on_the_unit(samples: list[float], scale: float) -> None:
    scaled = measured(*(sample * scale for sample in samples))
    assert scaled.outlier_share == measured(*samples).outlier_share


@given(samples=costs)
def test_less_than_half_of_the_repeats_are_outliers(samples: list[float]) -> None:
    assert measured(*samples).outlier_share < 0.5


@given(samples=costs, seed=st.randoms())
def test_outliers_do_not_depend_on_the_order_of_the_repeats(samples: list[float], seed) -> None:
    shuffled = samples.copy()
    seed.shuffle(shuffled)
    assert measured(*shuffled).outlier_share == measured(*samples).outlier_share


def test_a_lost_kernel_stops_the_run_with_its_cause() -> None:
    failed = Failure("run", "timed out")
    raise_if_lost([measured(1.0), failed])
    with pytest.raises(MeasureError, match="the board is gone"):
        raise_if_lost([failed, Failure(LOST, "the board is gone"), Failure(LOST, "later")])


def test_only_lost_failures_are_blameless() -> None:
    assert [Failure(stage, "").is_lost for stage in ("schedule", "build", "run", LOST)] == [
        False, False, False, True,
    ]  # fmt: skip


def test_measurements_are_values() -> None:
    one = measured(1.0, 2.0)
    assert dataclasses.replace(one) == one
