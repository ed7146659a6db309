"""Plans near the budget are measured once more, in turns, before one of them is chosen.

Of several plans the one that was measured too fast by chance looks best, and one that was measured
too slow by chance is not looked at again: a second measurement is fair to both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.planner.replan import Attempt
from tvm_prune.units import SECONDS

FINALISTS = 3
"""Plans within the budget that one is chosen of, at most."""
MOST_CONFIRMED = 6
"""Plans that are measured in turns, at most."""
_NEARLY = 1.05
"""Measured cost over the budget up to which another measurement may put a plan within it."""


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
    """Plans that may be chosen, or might be if they were a little faster; most important first.

    Exact costs are what they are, and leave no doubt.
    """
    doubtful: list[Widths] = []
    within = 0
    for attempt in sorted(attempts, key=lambda attempt: -attempt.solution.importance):
        widths, cost = attempt.solution.widths, attempt.measured
        if within == FINALISTS or len(doubtful) == MOST_CONFIRMED:
            break
        within += cost.median <= budget
        if widths not in sure and cost.unit == SECONDS and cost.median <= _NEARLY * budget:
            doubtful.append(widths)
    return doubtful
