"""Plans by counted work: a second opinion on which widths are worth their cost.

Work says little of latency, but what it says is exact, and at widths that fill vectors it is not
far off. Where kernels are so small that the latency model errs by more than plans differ, a plan
that was chosen by it may turn out to be the better one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from tvm_prune.channels import Limits, spread_widths
from tvm_prune.latency import Widths
from tvm_prune.planner.counts import Ceiling, Count
from tvm_prune.planner.solve import Problem, Solution, solve
from tvm_prune.planner.widths import most_candidates

MULTIPLE = 8


@dataclass(frozen=True)
class ByWork:
    """Chooses widths by their work.

    Attributes:
        work: multiply-accumulates of the model at any widths.
        candidates: widths each group may take, ascending.
    """

    work: Count
    candidates: Sequence[Sequence[int]]

    @classmethod
    def at_multiples(cls, work: Count, limits: Limits) -> ByWork:
        """At multiples of eight, as is customary, and at the highest width.

        Args:
            work: multiply-accumulates of the model at any widths.
            limits: lowest and highest width of every group.
        """
        return cls(
            work,
            [
                sorted({*range(-(-lowest // MULTIPLE) * MULTIPLE, highest, MULTIPLE), highest})
                for lowest, highest in limits
            ],
        )

    @classmethod
    def at_any_width(cls, work: Count, limits: Limits) -> ByWork:
        """At widths that are spread evenly from the lowest to the highest.

        Args:
            work: multiply-accumulates of the model at any widths.
            limits: lowest and highest width of every group.
        """
        most = most_candidates(len(work.products))
        return cls(work, [spread_widths(lowest, highest, most) for lowest, highest in limits])

    def plan(self, problem: Problem, most: float, excluded: Collection[Widths] = ()) -> Solution:
        """The widths that keep most importance for at most this much work.

        Args:
            problem: importance, and bounds on counts; its latency model only predicts.
            most: bound on the work.
            excluded: choices that are out of the question.

        Raises:
            BudgetError: if there are none.
        """
        ceilings = (*problem.ceilings, Ceiling("work", self.work, most))
        own = replace(problem, candidates=self.candidates, ceilings=ceilings)
        return solve(own, math.inf, excluded)
