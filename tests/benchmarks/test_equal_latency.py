"""How the other methods' widest model within a latency is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.equal_latency import CLOSE_ENOUGH, widest_within
from tvm_prune.errors import BudgetError


@given(ratio=st.floats(0.2, 0.9), power=st.floats(0.7, 2.2), floor=st.floats(0, 0.1))
def test_little_of_the_latency_is_left_unused_whatever_power_it_goes_by(
    ratio: float, power: float, floor: float
) -> None:
    def latency(share: float) -> float:
        return floor + (1 - floor) * share**power

    share, measured = widest_within(ratio, lambda share: share, latency)
    assert measured == latency(share)
    assert CLOSE_ENOUGH * ratio <= measured <= ratio


def test_what_is_above_the_latency_is_never_taken() -> None:
    steps = [0.05, 0.1, 0.2, 0.3, 0.42, 0.55, 0.7, 0.85, 1.0]
    found = widest_within(0.5, lambda share: round(8 * share), steps.__getitem__)
    assert found == (4, 0.42)


def test_a_model_slower_than_the_dense_one_does_not_end_the_search() -> None:
    def latency(share: float) -> float:
        return 1.3 if share > 0.5 else share

    _, measured = widest_within(0.4, lambda share: share, latency)
    assert measured <= 0.4


def test_nothing_fast_enough_is_told() -> None:
    with pytest.raises(BudgetError, match=r"within 0\.5x"):
        widest_within(0.5, lambda share: share, lambda _: 0.6)
