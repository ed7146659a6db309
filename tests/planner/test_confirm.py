"""Which plans are measured once more, and what that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.errors import BudgetError
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.planner import Attempt, Planned, Solution, plan_and_confirm
from tvm_prune.planner.confirm import AIMS, FINALISTS, MOST_CONFIRMED, confirmed

BUDGET = 1.0


def attempt(width: int, cost: float, unit: str = "seconds") -> Attempt:
    """A plan that keeps the more importance the wider it is."""
    solution = Solution((width,), importance=width / 100, predicted=cost, gap=0.0)
    return Attempt(solution, cost, Measurement((cost,), unit))


@dataclass
class SecondLook:
    """Costs by all measurements, and which plans were asked for together."""

    costs: Mapping[int, float]
    asked: list[list[int]] = field(default_factory=list)

    def __call__(self, choices: Sequence[Widths]) -> list[Measurement]:
        self.asked.append([width for [width] in choices])
        return [Measurement((self.costs[width],), "seconds") for [width] in choices]


def within(attempts: Sequence[Attempt]) -> list[int]:
    """Widths of the plans within the budget, the widest first."""
    widths = [one.solution.widths[0] for one in attempts if one.measured.median <= BUDGET]
    return sorted(widths, reverse=True)


def test_a_plan_that_was_fast_by_chance_is_not_chosen() -> None:
    look = SecondLook({9: 1.02, 8: 0.97})
    found = confirmed([attempt(8, 0.98), attempt(9, 0.9)], BUDGET, look)
    assert within(found) == [8]
    assert look.asked == [[9, 8]]


def test_a_plan_that_was_slow_by_chance_is_chosen_after_all() -> None:
    look = SecondLook({9: 0.99, 8: 0.97})
    assert within(confirmed([attempt(9, 1.04), attempt(8, 0.98)], BUDGET, look)) == [9, 8]


def test_a_plan_that_is_clearly_too_slow_is_left_alone() -> None:
    look = SecondLook({8: 0.97})
    found = confirmed([attempt(9, 1.1), attempt(8, 0.98)], BUDGET, look)
    assert within(found) == [8]
    assert look.asked == [[8]]


def test_a_plan_that_keeps_less_than_the_finalists_is_left_alone() -> None:
    widths = range(9, 9 - FINALISTS, -1)
    look = SecondLook(dict.fromkeys(widths, 0.95))
    confirmed([*(attempt(width, 0.9) for width in widths), attempt(1, 0.5)], BUDGET, look)
    assert look.asked == [list(widths)]


def test_where_all_finalists_fall_out_the_next_ones_are_measured() -> None:
    slow = range(9, 9 - FINALISTS, -1)
    look = SecondLook(dict.fromkeys(slow, 1.2) | {1: 0.5})
    found = confirmed([*(attempt(width, 0.9) for width in slow), attempt(1, 0.5)], BUDGET, look)
    assert within(found) == [1]
    assert look.asked == [list(slow), [1]]


def test_plans_that_stay_a_little_too_slow_do_not_keep_others_from_being_measured() -> None:
    slow = range(20, 20 - 2 * MOST_CONFIRMED, -1)
    look = SecondLook(dict.fromkeys(slow, 1.02) | {1: 0.99})
    found = confirmed([*(attempt(width, 1.03) for width in slow), attempt(1, 0.9)], BUDGET, look)
    assert within(found) == [1]
    assert look.asked[-1] == [1]


@pytest.mark.parametrize("unit", ["instructions", "cycles", "estimated cycles"])
def test_exact_costs_are_not_measured_again(unit: str) -> None:
    attempts = [attempt(9, 0.9, unit), attempt(8, 1.01, unit)]
    look = SecondLook({})
    assert confirmed(attempts, BUDGET, look) == attempts
    assert look.asked == []


costs = st.lists(st.tuples(st.floats(0.8, 1.2), st.floats(0.8, 1.2)), max_size=12)


@given(costs=costs)
def test_the_plan_that_is_chosen_was_measured_again_and_no_plan_twice(
    costs: list[tuple[float, float]],
) -> None:
    look = SecondLook({width: second for width, (_, second) in enumerate(costs)})
    attempts = [attempt(width, first) for width, (first, _) in enumerate(costs)]
    found = confirmed(attempts, BUDGET, look)
    asked = [width for together in look.asked for width in together]
    assert len(set(asked)) == len(asked)
    assert all(len(together) <= MOST_CONFIRMED for together in look.asked)
    assert [one.solution for one in found] == [one.solution for one in attempts]
    assert set(within(found)[:1]) <= set(asked)


@dataclass
class Planning:
    """What each round of planning finds; none is an error.

    Attributes:
        rounds: width and cost of the plans of each round.
        aims: shares of the budget that were planned for.
    """

    rounds: Sequence[Mapping[int, float]]
    unit: str = "seconds"
    aims: list[float] = field(default_factory=list)

    def __call__(self, share: float) -> list[Attempt]:
        self.aims.append(share)
        found = self.rounds[len(self.aims) - 1]
        if not found:
            raise BudgetError("No plan met the budget.")
        return [attempt(width, cost, self.unit) for width, cost in found.items()]

    def confirmed(self, costs: Mapping[int, float]) -> Planned:
        dense = Measurement((2 * BUDGET,), self.unit)
        return plan_and_confirm(self, BUDGET, dense, SecondLook(costs))


def test_a_plan_that_uses_the_budget_ends_the_planning() -> None:
    planning = Planning([{9: 1.02, 8: 0.98}])
    assert within(planning.confirmed({9: 1.02, 8: 0.98}).attempts) == [8]
    assert planning.aims == [1.0]


def test_where_no_plan_stays_within_the_budget_less_of_it_is_planned_for() -> None:
    planning = Planning([{9: 0.99}, {8: 0.98}])
    assert within(planning.confirmed({9: 1.01, 8: 0.98}).within) == [8]
    assert planning.aims == list(AIMS[:2])


def test_where_every_plan_is_above_the_budget_in_the_end_none_is_within_it() -> None:
    planning = Planning([{9: 0.99}, {8: 0.99}, {7: 0.99}])
    assert planning.confirmed(dict.fromkeys((9, 8, 7), 1.01)).within == ()
    assert planning.aims == list(AIMS)


def test_where_the_best_plan_leaves_much_that_others_hardly_exceed_less_is_planned_for() -> None:
    planning = Planning([{9: 1.01, 5: 0.9}, {8: 0.98}])
    found = planning.confirmed({9: 1.01, 8: 0.98, 5: 0.9})
    assert within(found.within) == [8, 5]
    assert {one.solution.widths for one in found.attempts} == {(9,), (8,), (5,)}


@pytest.mark.parametrize("other", [{9: 1.2}, {4: 1.01}, {}], ids=str)
def test_much_is_left_unused_where_no_other_plan_is_near(other: Mapping[int, float]) -> None:
    planning = Planning([{**other, 5: 0.9}])
    assert within(planning.confirmed({**other, 5: 0.9}).within) == [5]


def test_what_was_found_stays_where_nothing_is_found_for_less() -> None:
    planning = Planning([{9: 1.01, 5: 0.9}, {}])
    assert within(planning.confirmed({9: 1.01, 5: 0.9}).within) == [5]


def test_where_no_plan_was_within_the_budget_even_once_the_error_is_raised() -> None:
    with pytest.raises(BudgetError, match="No plan met"):
        Planning([{}]).confirmed({})


def test_exact_costs_are_planned_for_once() -> None:
    planning = Planning([{9: 1.01, 5: 0.9}], unit="cycles")
    assert within(planning.confirmed({}).within) == [5]
