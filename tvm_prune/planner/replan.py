"""Plan, build, measure, correct, plan again: until the measured latency meets the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm_prune.errors import BudgetError
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.planner.solve import Problem, Solution, solve

ROUNDS = 8
REFINEMENTS = 4
CLOSE_ENOUGH = 0.97
"""Share of the budget that a plan should use before the search stops looking for a better one."""


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


@dataclass(frozen=True)
class Replanner:
    """The loop around the planner.

    Attributes:
        refine: measures the kernels of the given widths where they were not measured yet, fits
            the latency model again and returns the problem with it.
        measure: builds the model at the given widths and measures it whole.
        budget: bound on the measured cost.
        scale: measured over predicted cost of the dense model.
    """

    refine: Callable[[list[Widths]], Problem]
    measure: Callable[[Widths], Measurement]
    budget: float
    scale: float

    def run(self) -> tuple[Attempt, list[Attempt]]:
        """The plan within the budget that keeps most importance, and all attempts.

        Raises:
            BudgetError: if no plan was measured within the budget; names the closest one.
        """
        problem, scale = self.refine([]), self.scale
        attempts: list[Attempt] = []
        tried: set[Widths] = set()
        for _ in range(ROUNDS):
            try:
                problem, solution = self._settle(problem, self.budget / scale)
            except BudgetError as error:
                if best := self._best(attempts):
                    return best, attempts
                raise self._infeasible(attempts, error) from error
            if solution.widths in tried:
                if self._best(attempts):
                    break
                scale *= 1.02
                continue
            tried.add(solution.widths)
            measured = self.measure(solution.widths)
            attempts.append(Attempt(solution, solution.predicted * scale, measured))
            scale = measured.median / solution.predicted
            if CLOSE_ENOUGH * self.budget <= measured.median <= self.budget:
                break
        best = self._best(attempts)
        if best is None:
            raise self._infeasible(attempts, None)
        return best, attempts

    def _settle(self, problem: Problem, budget: float) -> tuple[Problem, Solution]:
        """Solve, measure the kernels of the solution, and solve again until it stays."""
        solution = solve(problem, budget)
        for _ in range(REFINEMENTS):
            problem = self.refine([solution.widths])
            again = solve(problem, budget)
            if again.widths == solution.widths:
                return problem, again
            solution = again
        return self.refine([solution.widths]), solution

    def _best(self, attempts: list[Attempt]) -> Attempt | None:
        within = [a for a in attempts if a.measured.median <= self.budget]
        return max(within, key=lambda attempt: attempt.solution.importance, default=None)

    def _infeasible(self, attempts: list[Attempt], cause: BudgetError | None) -> BudgetError:
        if not attempts:
            return cause or BudgetError("No plan was measured.")
        closest = min(attempts, key=lambda attempt: attempt.measured.median)
        return BudgetError(
            f"No plan met the budget of {self.budget:.4g} {closest.measured.unit}; the closest one "
            f"keeps the widths {list(closest.solution.widths)} and was measured at "
            f"{closest.measured.median:.4g} {closest.measured.unit}. Allow that much, or start "
            "from a smaller model."
        )
