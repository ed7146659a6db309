"""A board is measured by one of the clocks that it has."""

from __future__ import annotations

import pytest

from tvm_prune.board import load_board
from tvm_prune.board_choice import chosen_board
from tvm_prune.budget import Budget, Budgets
from tvm_prune.errors import BoardError, BudgetError


def test_without_a_clock_a_board_has_the_one_of_its_file() -> None:
    assert chosen_board("aarch64-qemu") == load_board("aarch64-qemu")
    assert chosen_board("aarch64-qemu").unit == "instructions"


def test_another_clock_is_another_unit_and_shares_no_measurement() -> None:
    counted = load_board("aarch64-qemu")
    estimated = chosen_board(counted, "estimated-cycles")
    assert estimated.unit == "estimated cycles"
    assert estimated.fingerprint != counted.fingerprint


@pytest.mark.parametrize(
    ("name", "clock", "words"),
    [
        ("host", "instructions", "'host' has no clock 'instructions'; it has: seconds"),
        ("raspberry-pi-4b", "estimated-cycles", "it has: seconds"),
        ("aarch64-qemu", "seconds", "emulated, and the time that an emulator takes says nothing"),
        ("nucleo-h743zi", "estimated-cycles", "it has: cycles"),
    ],
)
def test_a_clock_that_a_board_does_not_have_is_refused(name: str, clock: str, words: str) -> None:
    with pytest.raises(BoardError, match=words):
        chosen_board(name, clock)


@pytest.mark.parametrize("text", ["20M estimated cycles", "20 M estimated-cycles"])
def test_a_budget_in_estimated_cycles_is_for_boards_that_estimate_them(text: str) -> None:
    budget = Budget.parse("latency", text)
    assert (budget.amount, budget.unit) == (20e6, "estimated cycles")
    assert str(budget) == "20,000,000 estimated cycles"
    budgets = Budgets((budget,))
    budgets.check("board", "estimated cycles")
    for unit in ("cycles", "instructions", "seconds"):
        with pytest.raises(BudgetError, match=f"in estimated cycles, but .* measures in {unit}"):
            budgets.check("board", unit)


@pytest.mark.parametrize("text", ["20M cycles", "20M instructions"])
def test_other_counts_are_no_estimated_cycles(text: str) -> None:
    with pytest.raises(BudgetError, match="measures in estimated cycles"):
        Budgets((Budget.parse("latency", text),)).check("board", "estimated cycles")
