"""Plans near the budget are measured once more, in turns, before one of them is chosen.

Of several plans the one that was measured too fast by chance looks best, and one that was measured
too slow by chance is not looked at again: a second measurement is fair to both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tvm_prune.errors import BudgetError
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.planner.replan import CLOSE_ENOUGH, Attempt, Planned
from tvm_prune.units import SECONDS

AIMS = (1.0, 0.99, 0.98)
"""Shares of the budget to plan for, in turn, until a plan uses it up when measured again."""
FINALISTS = 3
"""Plans within the budget that one is chosen of, at most."""
MOST_CONFIRMED = 6
"""Plans that are measured in turns, at most."""
_NEARLY = 1.05
"""Measured cost over the budget up to which another measurement may put a plan within it."""


def plan_and_confirm(
    attempted: Callable[[float], list[Attempt]],
    budget: float,
    dense: Measurement,
    again: Callable[[Sequence[Widths]], list[Measurement]],
) -> Planned:
    """Plans within the budget by all of their measurements; none where every plan is above it then.

    Less of the budget is planned for where that is so, and where the best plan that is left uses
    little of the budget while others are hardly above it.

    Args:
        attempted: plans that were measured, when a share of the budget is planned for.
        budget: bound on the measured cost.
        dense: measured cost of the dense model.
        again: measures plans once more, and tells what they cost by all of their measurements.

    Raises:
        BudgetError: if no plan was measured within the budget even once.
    """
    found = Planned((), (), dense)
    for share in AIMS:
        try:
            tried = {each.solution.widths: each for each in (*found.attempts, *attempted(share))}
        except BudgetError:
            if not found.within:
                raise
            break
        found = Planned.of(confirmed(list(tried.values()), budget, again), budget, dense)
        if found.best and not _may_use_more(found, found.best, budget):
            break
    return found


def _may_use_more(found: Planned, best: Attempt, budget: float) -> bool:
    """Whether the best plan leaves budget unused that more important ones hardly exceed."""
    if best.measured.median >= CLOSE_ENOUGH * budget:
        return False
    return any(
        _is_doubtful(attempt.measured, budget)
        for attempt in found.attempts
        if attempt.measured.median > budget
        and attempt.solution.importance > best.solution.importance
    )


def confirmed(
    attempts: Sequence[Attempt],
    budget: float,
    again: Callable[[Sequence[Widths]], list[Measurement]],
) -> list[Attempt]:
    """All attempts; those of which one may be chosen at what they cost after more measurements.

    Args:
        attempts: plans that were measured.
        budget: bound on the measured cost.
        again: measures plans once more, and tells what they cost by all of their measurements.
    """
    found, sure = list(attempts), set[Widths]()
    while doubtful := _doubtful(found, budget, sure):
        costs = dict(zip(doubtful, again(doubtful), strict=True))
        sure |= set(doubtful)
        found = [
            replace(attempt, measured=costs.get(attempt.solution.widths, attempt.measured))
            for attempt in found
        ]
    return found


def _doubtful(attempts: Sequence[Attempt], budget: float, sure: set[Widths]) -> list[Widths]:
    """Plans that may be chosen, or might be if they were a little faster; most important first."""
    doubtful: list[Widths] = []
    within = 0
    for attempt in sorted(attempts, key=lambda attempt: -attempt.solution.importance):
        widths, cost = attempt.solution.widths, attempt.measured
        if within == FINALISTS or len(doubtful) == MOST_CONFIRMED:
            break
        within += cost.median <= budget
        if widths not in sure and _is_doubtful(cost, budget):
            doubtful.append(widths)
    return doubtful


def _is_doubtful(cost: Measurement, budget: float) -> bool:
    """Whether another measurement may tell that a cost is within the budget, or is not.

    Exact costs are what they are, and leave no doubt.
    """
    return cost.unit == SECONDS and cost.median <= _NEARLY * budget
