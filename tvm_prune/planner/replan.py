"""Plan, build, measure, correct, plan again: until the measured latency meets the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm_prune.errors import BudgetError
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.planner.by_work import ByWork
from tvm_prune.planner.solve import Problem, Solution, solve
from tvm_prune.units import EXACT

ROUNDS = 8
REFINEMENTS = 4
HOPES = 3
"""Plans that may be better than they look whose kernels are measured before one is chosen."""
CHALLENGES = 4
"""Plans of one way to choose by work that are built once there is one to compare with, at most."""
LOOKS = 8
"""Plans of one such way whose kernels are measured for that, at most."""
CLOSE_ENOUGH = 0.97
"""Share of the budget that a plan should use before the search stops looking for a better one."""
CLOSE_WHERE_EXACT = 0.995
"""The same where costs are exact, so that a plan so close is not within it by chance."""
SAME_SCALE = 1.03
"""Two ratios of measured to predicted cost that are this close are not told apart."""
IMPROVEMENTS = 2
"""Plans that are expected to keep more than the best one that are built in the end, at most."""
_HARDLY = 1.01
"""Expected cost over the budget up to which they are, where costs are noisy."""
_AHEAD = 1.15
"""Work of the first challenger, over that of the plan it challenges."""
_PLAUSIBLE = 1.08
"""Expected cost over the budget up to which a challenger is built, where costs are noisy."""
_NARROW = 1.005
"""Two amounts of work that are this close are not told apart."""


@dataclass(frozen=True)
class Attempt:
    """A plan that was built and measured.

    Attributes:
        solution: what the planner chose and predicted.
        predicted: prediction corrected by what earlier attempts measured.
        measured: what the board said.
    """

    solution: Solution
    predicted: float
    measured: Measurement


def _within(attempts: Sequence[Attempt], budget: float) -> list[Attempt]:
    """Attempts within a budget, those that keep most importance first."""
    within = [attempt for attempt in attempts if attempt.measured.median <= budget]
    return sorted(within, key=lambda attempt: -attempt.solution.importance)


@dataclass(frozen=True)
class Planned:
    """What planning found.

    Attributes:
        within: the plans that were measured within the budget, the one to deliver first; empty
            where the dense model meets the budgets already.
        attempts: every plan that was built and measured.
        dense: measured cost of the dense model.
    """

    within: tuple[Attempt, ...]
    attempts: tuple[Attempt, ...]
    dense: Measurement

    @classmethod
    def of(cls, attempts: Sequence[Attempt], budget: float, dense: Measurement) -> Planned:
        """All attempts; those within the budget in the order of the importance that they keep."""
        return cls(tuple(_within(attempts, budget)), tuple(attempts), dense)

    @property
    def best(self) -> Attempt | None:
        """The plan to deliver; None where the dense model meets the budgets already."""
        return self.within[0] if self.within else None


@dataclass(frozen=True)
class Replanner:
    """The loop around the planner.

    Attributes:
        refine: measures the kernels of the given widths where they were not measured yet, fits
            the latency model again and returns the problem with it.
        measure: builds the model at the given widths and measures it whole.
        budget: bound on the measured cost.
        scale: expected over predicted cost of models that meet the budget.
        bound: what the bound is called in an error.
        challengers: choose the plans that challenge the best one, one after another.
        improvements: plans expected to keep more within the budget, or hardly above it where costs
            are noisy, that are built in the end, at most.
    """

    refine: Callable[[list[Widths]], Problem]
    measure: Callable[[Widths], Measurement]
    budget: float
    scale: float
    bound: str = "budget"
    challengers: Sequence[ByWork] = ()
    improvements: int = IMPROVEMENTS

    def run(self) -> tuple[Attempt, list[Attempt]]:
        """The plan within the budget that keeps most importance, and all attempts.

        A plan that was measured above the budget is not chosen again. After two of them in a row
        the next plan is to stay below the budget by as much as the last one was above it. Where
        a ratio of measured to predicted cost leaves no plan, ratios closer to one that did are
        tried. In the end plans that are chosen by their work challenge the best one, and what they
        taught is planned with.

        Raises:
            BudgetError: if no plan was measured within the budget; names the closest one.
        """
        attempts: list[Attempt] = []
        problem, scale, cause = self._approach(attempts)
        best = self._best(attempts)
        if best is None:
            raise self._infeasible(attempts, cause) from cause
        for by_work in self.challengers:
            best = self._challenged(best, by_work, problem, scale, attempts)
        return self._improved(best, scale, attempts), attempts

    def _approach(self, attempts: list[Attempt]) -> tuple[Problem, float, BudgetError | None]:
        """Plan and measure until the budget is used up; why it ended early, where it did."""
        problem, scale, met = self.refine([]), self.scale, self.scale
        aim = self.budget
        while len(attempts) < ROUNDS:
            try:
                problem, solution = self._settle(problem, aim / scale, self._failed(attempts))
            except BudgetError as error:
                exhausted = aim == self.budget and scale <= met * SAME_SCALE
                if self._best(attempts) or exhausted:
                    return problem, met, error
                scale = math.sqrt(scale * met) if aim == self.budget else scale
                aim = self.budget
                continue
            met = scale
            if any(attempt.solution.widths == solution.widths for attempt in attempts):
                break
            measured = self._attempt(solution, solution.predicted * scale, attempts)
            problem = self.refine([])
            scale = measured.median / problem.predicted(solution.widths)
            close_enough = CLOSE_WHERE_EXACT if measured.unit in EXACT else CLOSE_ENOUGH
            if close_enough * self.budget <= measured.median <= self.budget:
                break
            aim = self.budget
            if len(self._failed(attempts[-2:])) == 2:
                aim = self.budget**2 / measured.median
        return problem, scale, None

    def _settle(
        self, problem: Problem, budget: float, failed: set[Widths]
    ) -> tuple[Problem, Solution]:
        """Solve, measure the kernels of the solution, and solve again until it stays."""
        problem = self._explored(problem, budget, failed)
        solution = solve(problem, budget, failed)
        for _ in range(REFINEMENTS):
            problem = self.refine([solution.widths])
            again = solve(problem, budget, failed)
            if again.widths == solution.widths:
                return problem, again
            solution = again
        return self.refine([solution.widths]), solution

    def _explored(self, problem: Problem, budget: float, failed: set[Widths]) -> Problem:
        """The problem once the kernels of promising plans were measured."""
        for _ in range(HOPES):
            try:
                hoped = solve(problem.hopeful(), budget, failed)
            except BudgetError:
                break  # what is predicted in earnest cannot be met either, and says by how much
            refined = self.refine([hoped.widths])
            if refined.model is problem.model:
                break
            problem = refined
        return problem

    def _challenged(
        self,
        best: Attempt,
        by_work: ByWork,
        problem: Problem,
        scale: float,
        attempts: list[Attempt],
    ) -> Attempt:
        """The best plan once plans by work that keep more importance were attempted too.

        The most work that the budget allows is bracketed: from above by plans that are too slow,
        from below by those that are not, and by those that keep no more importance than the best.
        """
        failed, work, most_built = self._failed(attempts), by_work.work, len(attempts) + CHALLENGES
        aim = _AHEAD * work.at(best.solution.widths) * self.budget / best.measured.median
        least, most = 0.0, aim
        for _ in range(LOOKS):
            try:
                solution = by_work.plan(problem, aim, failed)
            except BudgetError:
                break
            if solution.importance > best.solution.importance:
                problem = self.refine([solution.widths])
                cost = self._cost(solution, problem, scale, attempts)
                used = work.at(solution.widths)
                least, most = (used, most) if cost <= self.budget else (least, used)
                best, aim = self._best(attempts) or best, used * self.budget / cost
            else:
                least = aim
            if most <= _NARROW * least or len(attempts) == most_built:
                break
            if not _NARROW * least < aim < most / _NARROW:
                aim = (least + most) / 2
        return best

    def _improved(self, best: Attempt, scale: float, attempts: list[Attempt]) -> Attempt:
        """The best plan once others that keep more importance were attempted too.

        The challengers taught what their kernels cost. Where costs are noisy, expectations of plans
        are off by a few per cent, so that some of those that are expected hardly above the budget
        are within it.
        """
        problem, most = self.refine([]), self._allowing(_HARDLY, attempts)
        most_built = len(attempts) + self.improvements
        for _ in range(2 * self.improvements):
            try:
                solution = solve(problem, most / scale, {each.solution.widths for each in attempts})
            except BudgetError:
                break
            if solution.importance <= best.solution.importance or len(attempts) == most_built:
                break
            problem = self.refine([solution.widths])
            expected = problem.predicted(solution.widths) * scale
            if expected <= most:
                self._attempt(solution, expected, attempts)
                problem, best = self.refine([]), self._best(attempts) or best
        return best

    def _attempt(self, solution: Solution, expected: float, attempts: list[Attempt]) -> Measurement:
        """Build and measure a plan."""
        attempts.append(Attempt(solution, expected, self.measure(solution.widths)))
        return attempts[-1].measured

    def _cost(
        self, solution: Solution, problem: Problem, scale: float, attempts: list[Attempt]
    ) -> float:
        """What a plan is measured at, or is expected to be where that is clearly too much."""
        expected = problem.predicted(solution.widths) * scale
        if expected > self._allowing(_PLAUSIBLE, attempts):
            return expected
        return self._attempt(solution, expected, attempts).median

    def _allowing(self, excess: float, attempts: Sequence[Attempt]) -> float:
        """The budget, and so much more where costs are not what they are expected to be."""
        return self.budget * (1.0 if attempts[0].measured.unit in EXACT else excess)

    def _best(self, attempts: list[Attempt]) -> Attempt | None:
        return next(iter(_within(attempts, self.budget)), None)

    def _failed(self, attempts: list[Attempt]) -> set[Widths]:
        """Widths that were measured above the budget."""
        return {a.solution.widths for a in attempts if a.measured.median > self.budget}

    def _infeasible(self, attempts: list[Attempt], cause: BudgetError | None) -> BudgetError:
        if not attempts:
            return cause or BudgetError("No plan was measured.")
        closest = min(attempts, key=lambda attempt: attempt.measured.median)
        return BudgetError(
            f"No plan met the {self.bound} of {self.budget:.4g} {closest.measured.unit}; the "
            f"closest one keeps the widths {list(closest.solution.widths)} and was measured at "
            f"{closest.measured.median:.4g} {closest.measured.unit}. Allow that much, or start "
            "from a smaller model."
        )
