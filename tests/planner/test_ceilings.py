"""Bounds on counts are part of the program, exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import TableFamily, choices, modelled_cost, problem_of, problems

from tvm_prune.errors import BudgetError
from tvm_prune.planner import Ceiling, Count, Problem, solve
from tvm_prune.planner.counts import Extent, Product

INFINITE = float("inf")


@st.composite
def counted_problems(draw: st.DrawFn) -> Problem:
    """A problem with bounds on two counts; layers depend on up to all four groups."""
    problem = draw(problems())
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ceilings = []
    for name in ("parameters", "macs"):
        count = Count(
            tuple(
                Product(
                    int(generator.integers(1, 9)),
                    tuple(_extent(generator, len(problem.dense)) for _ in range(axes)),
                )
                for axes in generator.integers(0, 4, draw(st.integers(1, 4))).tolist()
            )
        )
        counts = sorted({count.at(widths) for widths in choices(problem)})
        position = min(int(draw(st.floats(0, 1)) * len(counts)), len(counts) - 1)
        ceilings.append(Ceiling(name, count, float(counts[position])))
    return replace(problem, ceilings=tuple(ceilings))


def _extent(generator: np.random.Generator, groups: int) -> Extent:
    chosen = sorted(generator.permutation(groups)[: generator.integers(1, groups + 1)].tolist())
    slopes = tuple((group, int(generator.integers(1, 4))) for group in chosen)
    return Extent(int(generator.integers(0, 3)), slopes)


def allowed(problem: Problem, widths: tuple[int, ...]) -> bool:
    return all(ceiling.count.at(widths) <= ceiling.most for ceiling in problem.ceilings)


@given(problem=counted_problems(), slack=st.floats(0.3, 1.2))
def test_the_solution_is_the_best_choice_within_all_bounds(problem: Problem, slack: float) -> None:
    """Bounds on counts are met to the last parameter, some of them with nothing to spare."""
    budget = slack * modelled_cost(problem, problem.dense) * 1.00317
    within = [
        widths
        for widths in choices(problem)
        if modelled_cost(problem, widths) <= budget and allowed(problem, widths)
    ]
    if not within:
        with pytest.raises(BudgetError, match="closest one"):
            solve(problem, budget)
        return
    solution = solve(problem, budget)
    assert solution.widths in within
    assert solution.importance >= max(map(problem.importance, within)) * (1 - 1e-3)


@settings(max_examples=30)
@given(problem=counted_problems(), data=st.data())
def test_excluded_choices_are_not_taken(problem: Problem, data: st.DataObject) -> None:
    within = [widths for widths in choices(problem) if allowed(problem, widths)]
    excluded = data.draw(st.sets(st.sampled_from(choices(problem)), max_size=5))
    rest = set(within) - excluded
    if not rest:
        with pytest.raises(BudgetError):
            solve(problem, INFINITE, excluded)
        return
    solution = solve(problem, INFINITE, excluded)
    assert solution.widths in rest
    assert solution.importance >= max(map(problem.importance, rest)) * (1 - 1e-3)


def layered(most: float, dense: tuple[int, int] = (8, 8)) -> Problem:
    """One kernel whose cost is its first width, and one layer of both widths."""
    table = np.arange(dense[0] + 1, dtype=float)
    count = Count((Product(9, (Extent(0, ((0, 1),)), Extent(0, ((1, 1),)))),))
    problem = problem_of([TableFamily((0,), (0,), table)], dense)
    return replace(problem, ceilings=(Ceiling("parameters", count, most),))


def test_without_a_latency_bound_the_counts_alone_decide() -> None:
    assert solve(layered(9 * 4 * 4), INFINITE).widths == (4, 4)
    assert solve(layered(9 * 8 * 8), INFINITE).widths == (8, 8)


@pytest.mark.parametrize(
    ("most", "budget", "named", "silent"),
    [
        (8.0, 9.0, "parameters", "latency"),
        (1e6, 0.5, "latency", "parameters"),
        (8.0, 0.5, "parameters and latency", "nothing"),
    ],
)
def test_the_bounds_that_cannot_be_met_are_named_with_the_closest_choice(
    most: float, budget: float, named: str, silent: str
) -> None:
    with pytest.raises(BudgetError, match=r"\[1, \d\]") as caught:
        solve(layered(most), budget)
    message = str(caught.value)
    assert set(named.split(" and ")) == {
        name for name in ("latency", "parameters") if f" {name} " in message
    }
    assert silent not in message


@pytest.mark.parametrize("spare", [0, 1, 31, 63])
def test_a_bound_of_a_hundred_million_parameters_is_met_to_the_last_one(spare: int) -> None:
    """The solver's own tolerance of a millionth would be a hundred parameters."""
    layers = (Product(14_777_215, (Extent(1, ((0, 1),)),)), Product(1, (Extent(0, ((1, 1),)),)))
    most = 14_777_215 * 6 + spare
    problem = replace(
        problem_of([TableFamily((0,), (0,), np.arange(9, dtype=float))], (8, 64)),
        ceilings=(Ceiling("parameters", Count(layers), float(most)),),
    )
    solution = solve(problem, INFINITE)
    assert Count(layers).at(solution.widths) <= most
    assert solution.widths[0] >= 4
