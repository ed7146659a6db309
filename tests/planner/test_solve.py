"""The solver finds the best choice there is: it is compared with trying all of them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import TableFamily, choices, modelled_cost, problem_of, problems

from tvm_prune.errors import BudgetError
from tvm_prune.planner import Problem, solve
from tvm_prune.planner.solve import kept_shares

ROOM = 1e-4
"""Budgets this close to the cost of a choice are not asked for: rounding decides there."""


def budget_between(costs: list[float], share: float) -> float:
    """A budget that admits about a share of the choices, and is close to the cost of none."""
    ordered = np.unique(costs)
    gaps = [(low + high) / 2 for low, high in pairwise(ordered) if high > low * (1 + 2 * ROOM)]
    return float([*gaps, ordered[-1] * 1.5][int(share * len(gaps))])


def assert_best(problem: Problem, share: float) -> None:
    costs = {widths: modelled_cost(problem, widths) for widths in choices(problem)}
    budget = budget_between(list(costs.values()), share)
    best = max(problem.importance(widths) for widths in costs if costs[widths] <= budget)
    solution = solve(problem, budget)
    assert solution.widths in costs
    assert costs[solution.widths] <= budget
    assert solution.importance == pytest.approx(problem.importance(solution.widths))
    assert 1 / solution.importance - 1 <= (1 / best - 1) * (1 + 1e-3) + 1e-9
    assert solution.predicted == pytest.approx(problem.predicted(solution.widths))


@given(problem=problems(), share=st.floats(0, 1))
def test_the_solution_is_as_good_as_the_best_of_all_choices(problem: Problem, share: float) -> None:
    assert_best(problem, share)


@settings(max_examples=40)
@given(problem=problems(unit_cost=1e-9), share=st.floats(0, 1))
def test_kernels_of_a_few_nanoseconds_are_not_lost_in_the_solvers_tolerance(
    problem: Problem, share: float
) -> None:
    assert_best(problem, share)


@settings(max_examples=40)
@given(problem=problems(unit_cost=1e7), share=st.floats(0, 1))
def test_costs_may_be_millions_of_instructions(problem: Problem, share: float) -> None:
    assert_best(problem, share)


@settings(max_examples=40)
@given(problem=problems(), share=st.floats(0, 1))
def test_losses_of_a_ten_thousandth_are_told_apart(problem: Problem, share: float) -> None:
    curves = [1 - 1e-4 * (1 - kept_shares(score)) for score in problem.scores]
    assert_best(replace(problem, curves=curves), share)


@given(problem=problems())
def test_an_impossible_budget_names_the_fastest_choice(problem: Problem) -> None:
    lowest = min(modelled_cost(problem, widths) for widths in choices(problem))
    with pytest.raises(BudgetError, match=r"closest one, \[") as caught:
        solve(problem, lowest - 0.1 * abs(lowest))
    message = str(caught.value)
    assert "budget for latency;" in message
    [named] = re.findall(r"\[([\d, ]+)\]", message)
    fastest = tuple(int(width) for width in named.split(", "))
    assert modelled_cost(problem, fastest) == pytest.approx(lowest)
    assert f"{problem.predicted(fastest):.4g} seconds" in message


def linear(groups: tuple[int, ...], dense: tuple[int, ...]) -> TableFamily:
    """A kernel whose cost is the product of its widths."""
    extents = [np.arange(dense[group] + 1, dtype=float) for group in groups]
    return TableFamily(groups, (0,), np.prod(np.meshgrid(*extents, indexing="ij"), axis=0))


def test_with_constant_importance_two_equal_groups_shrink_alike() -> None:
    dense = (8, 8)
    problem = problem_of([linear((0,), dense), linear((1,), dense)], dense)
    assert solve(problem, 8.0).widths == (4, 4)


def test_with_constant_importance_the_costlier_group_is_cut_first_but_not_alone() -> None:
    dense = (8, 8)
    cheap, costly = linear((0,), dense), linear((1,), dense)
    problem = problem_of([cheap, TableFamily((1,), (0, 1, 2, 3), costly.table)], dense)
    assert solve(problem, 32.0).widths == (8, 6)
    assert solve(problem, 16.0).widths == (4, 3)  # 8/4 + 8/3 is less than 8/8 + 8/2


def test_a_budget_that_the_dense_model_meets_keeps_everything() -> None:
    dense = (6, 5)
    problem = problem_of([linear((0, 1), dense)], dense, overhead=10.0)
    solution = solve(problem, 40.0)
    assert solution.widths == dense
    assert solution.importance == pytest.approx(1.0)


def test_important_units_are_paid_for() -> None:
    dense = (4, 4)
    families = [linear((0,), dense), linear((1,), dense)]
    scores = [np.array([10.0, 0.1, 0.1, 0.1]), np.ones(4)]
    assert solve(problem_of(families, dense, scores=scores), 5.0).widths == (1, 4)
    assert solve(problem_of(families, dense, scores=scores[::-1]), 5.0).widths == (4, 1)


def test_the_overhead_counts() -> None:
    problem = problem_of([linear((0,), (8,))], (8,), overhead=3.0)
    assert solve(problem, 8.0).widths == (5,)


def test_a_kernel_called_twice_costs_twice() -> None:
    family = TableFamily((0,), (3, 9), linear((0,), (8,)).table)
    assert solve(problem_of([family], (8,)), 8.0).widths == (4,)


def test_a_width_that_is_slower_than_a_wider_one_is_not_chosen() -> None:
    table = np.array([0.0, 1, 2, 9, 4])
    problem = problem_of([TableFamily((0,), (0,), table)], (4,))
    assert [solve(problem, budget).widths for budget in (3.5, 4.5)] == [(2,), (4,)]


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=20))
def test_kept_shares_are_those_of_the_best_units(scores: list[float]) -> None:
    shares = kept_shares(np.array(scores))
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)
    assert (np.diff(shares) > 0).all()
    assert (np.diff(shares, n=2) <= 1e-12).all()
    assert shares[1] == pytest.approx(max(scores) / sum(scores))
