"""What may stand after ``--latency``, ``--parameters`` and ``--macs``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.budget import QUANTITIES, Budget, Budgets
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
    budget = Budget.parse("latency", text)
    assert budget.amount == pytest.approx(seconds)
    assert budget.ratio is None
    assert budget.resolve(123.0) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "ratio"), [("0.5x", 0.5), ("1x", 1.0), (".25 x", 0.25)])
def test_a_relative_budget_is_a_share_of_the_dense_latency(text: str, ratio: float) -> None:
    budget = Budget.parse("latency", text)
    assert budget.ratio == pytest.approx(ratio)
    assert budget.amount is None
    assert budget.resolve(0.008) == pytest.approx(0.008 * ratio)


@pytest.mark.parametrize(
    "text",
    ["", "fast", "8", "ms", "-8ms", "8 minutes", "8ms!", "0.5", "x", "1,5ms", "nan", "ms8", "8MS"],
)
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BudgetError, match="8ms") as caught:
        Budget.parse("latency", text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("text", ["0ms", "0x", "0.0s", 0, 0.0, -1.0, float("nan")])
def test_a_budget_must_be_positive(text: str | float) -> None:
    with pytest.raises(BudgetError, match="positive"):
        Budget.parse("latency", text)


@pytest.mark.parametrize("text", ["1.01x", "2x", "100x"])
def test_a_relative_budget_above_the_dense_latency_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match="between 0x and 1x") as caught:
        Budget.parse("latency", text)
    assert text in str(caught.value)


@pytest.mark.parametrize("text", ["8 ms", "0.5x", "0.35 ms"])
def test_a_budget_is_shown_as_it_may_be_written(text: str) -> None:
    assert str(Budget.parse("latency", text)) == text


@given(st.floats(1e-6, 10.0))
def test_seconds_and_milliseconds_agree(seconds: float) -> None:
    one, other = (
        Budget.parse("latency", seconds),
        Budget.parse("latency", f"{seconds * 1e3:.12f}ms"),
    )
    assert one.resolve(1.0) == pytest.approx(other.resolve(1.0), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("quantity", ["parameters", "macs"])
@pytest.mark.parametrize(
    ("text", "amount"),
    [("120k", 120e3), ("1.2M", 1.2e6), ("3G", 3e9), ("223242", 223_242), (50_000, 50_000)],
)
def test_counts_are_written_with_or_without_a_unit(
    quantity: str, text: str | float, amount: float
) -> None:
    budget = Budget.parse(quantity, text)
    assert budget.resolve(1e12) == pytest.approx(amount)
    assert str(budget) == f"{amount:,.0f}"


@pytest.mark.parametrize("quantity", ["parameters", "macs"])
def test_counts_may_be_relative_to_the_dense_model(quantity: str) -> None:
    budget = Budget.parse(quantity, "0.25x")
    assert budget.resolve(1000.0) == 250.0
    assert str(budget) == "0.25x"


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("text", ["many", "-3k", "0x", "1.5x", "3 apples", "12q"])
def test_what_is_no_budget_is_refused_by_name(quantity: str, text: str) -> None:
    with pytest.raises(BudgetError, match=QUANTITIES[quantity].noun) as caught:
        Budget.parse(quantity, text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("text", ["8ms", "350us", "1s"])
def test_seconds_are_no_number_of_parameters(text: str) -> None:
    with pytest.raises(BudgetError, match="120k"):
        Budget.parse("parameters", text)


def test_at_least_one_budget_is_needed() -> None:
    with pytest.raises(BudgetError, match="latency, parameters, macs"):
        Budgets.parse(latency=None, parameters=None, macs=None)


def test_budgets_are_told_apart() -> None:
    assert str(Budgets.parse(latency="0.5x")) == "0.5x"
    both = Budgets.parse(latency="8ms", parameters="120k", macs=None)
    assert str(both) == "latency 8 ms, parameters 120,000"
    assert both.get("macs") is None
    assert both.bounds({"latency": 1.0, "parameters": 1.0}) == {
        "latency": pytest.approx(8e-3),
        "parameters": 120_000,
    }


DENSE = {"latency": 2.0, "parameters": 1000.0, "macs": 500.0}


@pytest.mark.parametrize(
    ("costs", "missed"),
    [
        ({"latency": 0.5, "parameters": 500, "macs": 1}, ()),
        ({"latency": 1.01, "parameters": 500, "macs": 1}, ("latency",)),
        ({"latency": 1.0, "parameters": 501, "macs": 1}, ("parameters",)),
        ({"latency": 3.0, "parameters": 900, "macs": 1}, ("latency", "parameters")),
    ],
)
def test_what_was_missed_is_named(costs: dict[str, float], missed: tuple[str, ...]) -> None:
    assert Budgets.parse(latency="0.5x", parameters="500").missed(costs, DENSE) == missed


@pytest.mark.parametrize("budgets", [{"parameters": "1x"}, {"macs": "1x"}, {"latency": "100s"}])
def test_a_model_slower_than_the_dense_one_misses_any_budget(budgets: dict[str, str]) -> None:
    slower = {**DENSE, "latency": 2.001}
    assert Budgets.parse(**budgets).missed(slower, DENSE) == ("latency",)
    assert Budgets.parse(**budgets).missed(DENSE, DENSE) == ()


def test_a_time_is_no_budget_for_a_board_that_counts_instructions() -> None:
    with pytest.raises(BudgetError, match=r"'emulated' measures in instructions.*'0.5x'"):
        Budgets.parse(latency="8ms").check("emulated", "instructions")
    Budgets.parse(latency="8ms").check("host", "seconds")
    Budgets.parse(latency="0.5x", parameters="10k").check("emulated", "instructions")


def test_a_bare_number_is_in_the_unit_of_the_board() -> None:
    for unit in ("seconds", "instructions"):
        Budgets.parse(latency=0.008).check("a board", unit)


@pytest.mark.parametrize(
    ("text", "amount", "unit", "shown"),
    [
        ("20M instructions", 20e6, "instructions", "20,000,000 instructions"),
        ("1.5kcycles", 1500.0, "cycles", "1,500 cycles"),
        ("300 cycles", 300.0, "cycles", "300 cycles"),
        ("8 ms", 8e-3, "seconds", "8 ms"),
    ],
)
def test_a_latency_knows_what_it_is_counted_in(
    text: str, amount: float, unit: str, shown: str
) -> None:
    budget = Budget.parse("latency", text)
    assert budget.amount == pytest.approx(amount)
    assert (budget.unit, str(budget)) == (unit, shown)


@pytest.mark.parametrize(
    ("text", "size"), [("256KB", 262144), ("1 MB", 1048576), ("512", 512), ("100B", 100)]
)
@pytest.mark.parametrize("quantity", ["flash", "ram"])
def test_memory_is_given_in_bytes(quantity: str, text: str, size: int) -> None:
    assert Budget.parse(quantity, text).amount == size
    with pytest.raises(BudgetError, match="KB"):
        Budget.parse(quantity, "8ms")


def test_a_latency_in_another_unit_than_the_boards_is_refused() -> None:
    Budgets.parse(latency="0.5x").check("mine", "cycles", True)
    Budgets.parse(latency="5k cycles", ram="4KB").check("mine", "cycles", True)
    with pytest.raises(BudgetError, match="in cycles, but the board 'mine' measures in instr"):
        Budgets.parse(latency="5k cycles").check("mine", "instructions", True)
    with pytest.raises(BudgetError, match="ram needs a microcontroller"):
        Budgets.parse(ram="4KB").check("mine", "seconds")
