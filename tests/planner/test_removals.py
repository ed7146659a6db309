"""Layers that may go altogether are part of the program, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import TableFamily, choices, modelled_cost, problem_of, problems

from tvm_prune.errors import BudgetError
from tvm_prune.planner import Problem, Removal, solve

Widths = tuple[int, ...]


@st.composite
def problems_with_removals(draw: st.DrawFn) -> Problem:
    """A problem where one or two groups, or pairs of groups, may have the width zero."""
    problem = draw(problems())
    order = draw(st.permutations(range(len(problem.dense))))
    sizes = draw(st.lists(st.integers(1, 2), min_size=1, max_size=2))
    parts = [tuple(order[:2][: sizes[0]]), tuple(order[2:][: sizes[-1]])]
    losses = draw(st.lists(st.floats(0, 5), min_size=2, max_size=2))
    removals = [Removal(part, loss) for part, loss in zip(parts, losses, strict=True) if part]
    return problem.with_removals(removals, draw(st.integers(0, 2)))


def is_allowed(problem: Problem, widths: Widths) -> bool:
    gone = [[widths[group] == 0 for group in removal.groups] for removal in problem.removals]
    whole = all(all(part) or not any(part) for part in gone)
    return whole and sum(map(all, gone)) <= problem.most_removed


@given(problem=problems_with_removals(), share=st.floats(0, 1))
def test_layers_go_as_a_whole_and_only_where_that_is_best(problem: Problem, share: float) -> None:
    costs = {w: modelled_cost(problem, w) for w in choices(problem) if is_allowed(problem, w)}
    ordered = sorted(costs.values())
    budget = ordered[min(int(share * len(ordered)), len(ordered) - 1)] * (1 + 1e-3)
    best = max(problem.importance(widths) for widths in costs if costs[widths] <= budget)
    solution = solve(problem, budget)
    assert solution.widths in costs
    assert costs[solution.widths] <= budget * (1 + 1e-6)
    assert solution.importance >= best * (1 - 1e-3)


def chain() -> Problem:
    """Two groups of four; the second costs much, and the first nothing."""
    table = np.arange(5.0)
    return problem_of([TableFamily((0,), (0,), 0 * table), TableFamily((1,), (1,), table)], (4, 4))


def test_what_is_hardly_missed_goes_before_anything_gets_narrower() -> None:
    problem = chain().with_removals([Removal((1,), 1e-3)], 1)
    assert solve(problem, 3.5).widths == (4, 0)


def test_what_is_missed_stays() -> None:
    problem = chain().with_removals([Removal((1,), 10.0)], 1)
    assert solve(problem, 3.5).widths == (4, 3)


def test_no_more_go_than_may() -> None:
    problem = chain().with_removals([Removal((1,), 1e-3)], 0)
    with pytest.raises(BudgetError, match="latency"):
        solve(problem, 0.5)
