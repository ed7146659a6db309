"""What may stand after ``--latency``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.budget import LatencyBudget
from tvm_prune.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8ms", 8e-3),
        ("350us", 350e-6),
        ("350µs", 350e-6),
        ("2s", 2.0),
        (" 1.5 ms ", 1.5e-3),
        (".5ms", 0.5e-3),
        ("1e-3s", 1e-3),
        (0.25, 0.25),
        (2, 2.0),
    ],
)
def test_an_absolute_budget_is_read_in_seconds(text: str | float, seconds: float) -> None:
    budget = LatencyBudget.parse(text)
    assert budget.seconds == pytest.approx(seconds)
    assert budget.ratio is None
    assert budget.resolve(123.0) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "ratio"), [("0.5x", 0.5), ("1x", 1.0), (".25 x", 0.25)])
def test_a_relative_budget_is_a_share_of_the_dense_latency(text: str, ratio: float) -> None:
    budget = LatencyBudget.parse(text)
    assert budget.ratio == pytest.approx(ratio)
    assert budget.seconds is None
    assert budget.resolve(0.008) == pytest.approx(0.008 * ratio)


@pytest.mark.parametrize(
    "text",
    ["", "fast", "8", "ms", "-8ms", "8 minutes", "8ms!", "0.5", "x", "1,5ms", "nan", "ms8", "8MS"],
)
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BudgetError, match="8ms") as caught:
        LatencyBudget.parse(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("text", ["0ms", "0x", "0.0s", 0, 0.0, -1.0, float("nan")])
def test_a_budget_must_be_positive(text: str | float) -> None:
    with pytest.raises(BudgetError, match="positive"):
        LatencyBudget.parse(text)


@pytest.mark.parametrize("text", ["1.01x", "2x", "100x"])
def test_a_relative_budget_above_the_dense_latency_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match="between 0x and 1x") as caught:
        LatencyBudget.parse(text)
    assert text in str(caught.value)


@pytest.mark.parametrize("text", ["8 ms", "0.5x", "0.35 ms"])
def test_a_budget_is_shown_as_it_may_be_written(text: str) -> None:
    assert str(LatencyBudget.parse(text)) == text


@given(st.floats(1e-6, 10.0))
def test_seconds_and_milliseconds_agree(seconds: float) -> None:
    one, other = LatencyBudget.parse(seconds), LatencyBudget.parse(f"{seconds * 1e3:.12f}ms")
    assert one.resolve(1.0) == pytest.approx(other.resolve(1.0), rel=1e-6, abs=1e-12)
