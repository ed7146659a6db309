"""The planner: most importance kept within all budgets, solved exactly.

The mixed-integer program of :mod:`tvm_prune.planner.program` goes to HiGHS. Its costs and counts
are those of :mod:`tvm_prune.planner.expressions`.

What is maximised is the harmonic mean over the groups of the share of importance that is kept.
Removed importance is noise to what is kept, and the noise-to-signal ratios, removed over kept, of
layers that follow one another add up; their sum is least where that mean is largest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tvm_prune.errors import BudgetError
from tvm_prune.latency import LatencyModel, Widths
from tvm_prune.planner.counts import Ceiling
from tvm_prune.planner.expressions import counted, kernel_costs
from tvm_prune.planner.program import Expression, Program
from tvm_prune.planner.removals import Removal, restrain

_TIGHTENINGS = 5
_NOTHING_EXCLUDED: frozenset[Widths] = frozenset()


@dataclass(frozen=True)
class Solution:
    """The widths that keep most importance.

    Attributes:
        widths: chosen width of every group.
        importance: harmonic mean over the groups of the share of importance kept, 0..1.
        predicted: predicted cost of the whole model.
        gap: relative distance of the noise-to-signal ratio to the least possible one.
    """

    widths: Widths
    importance: float
    predicted: float
    gap: float


@dataclass(frozen=True)
class Problem:
    """What to solve.

    Attributes:
        model: kernel costs.
        dense: dense width of every group.
        candidates: widths each group may take, ascending, the dense one last.
        scores: importance of every unit of each group.
        overhead: cost of a call of the model beyond its kernels.
        ceilings: bounds on what can be counted.
        curves: share of each group that is kept at every width, shape (width + 1,), where it is not
            the share of the importance; empty where it is.
        removals: layers that can go.
        most_removed: how many of them may.
    """

    model: LatencyModel
    dense: Widths
    candidates: Sequence[Sequence[int]]
    scores: Sequence[NDArray[np.float64]]
    overhead: float
    ceilings: tuple[Ceiling, ...] = ()
    curves: Sequence[NDArray[np.float64]] = ()
    removals: tuple[Removal, ...] = ()
    most_removed: int = 0

    def with_removals(self, removals: Sequence[Removal], most: int) -> Problem:
        """The same problem where layers can go as well.

        Args:
            removals: of different groups each.
            most: how many of them may go.
        """
        candidates = [list(widths) for widths in self.candidates]
        curves = [self.shares(group).copy() for group in range(len(candidates))]
        for removal in removals:
            for group in removal.groups:
                candidates[group].insert(0, 0)
                curves[group][0] = 1.0
            curves[removal.groups[0]][0] = 1.0 / (1.0 + removal.loss)
        return replace(
            self, candidates=candidates, curves=curves, removals=tuple(removals), most_removed=most
        )

    def hopeful(self) -> Problem:
        """The same problem with kernels that were not measured as cheap as they may be."""
        return replace(self, model=self.model.hopeful())

    def shares(self, group: int) -> NDArray[np.float64]:
        """Share of a group that is kept at every width, shape (width + 1,)."""
        return self.curves[group] if self.curves else kept_shares(self.scores[group])

    def predicted(self, widths: Widths) -> float:
        """Predicted cost of the whole model at some widths."""
        return self.model.total(widths) + self.overhead

    def importance(self, widths: Widths) -> float:
        """Importance kept at some widths: harmonic mean over the groups of the share kept."""
        shares = [self.shares(group)[width] for group, width in enumerate(widths)]
        return float(1.0 / np.mean(1.0 / np.array(shares)))


def kept_shares(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a group's importance that its best units hold, by width: shape (width + 1,)."""
    total = np.cumsum(np.sort(score)[::-1])
    return np.concatenate([[0.0], total / total[-1]])


def solve(
    problem: Problem, budget: float, excluded: Collection[Widths] = _NOTHING_EXCLUDED
) -> Solution:
    """Choose the width of every group.

    Args:
        problem: costs, importance, and bounds on counts.
        budget: bound on the cost of the whole model, in the model's unit; may be infinite.
        excluded: choices that are out of the question.

    Raises:
        BudgetError: if no choice of candidates is predicted to meet all bounds; names those that
            bind and the closest choice.
    """
    tightened = problem
    for _ in range(_TIGHTENINGS):
        result = _most_important(tightened, budget, excluded)
        if result is None:
            raise _infeasible(problem, budget, excluded)
        widths, gap = result
        over = [ceiling for ceiling in problem.ceilings if ceiling.count.at(widths) > ceiling.most]
        if not over:
            break
        tightened = _tighter(tightened, over, widths)
    else:
        raise _infeasible(problem, budget, excluded)
    return Solution(widths, problem.importance(widths), problem.predicted(widths), gap)


def _tighter(problem: Problem, over: Sequence[Ceiling], widths: Widths) -> Problem:
    """Take the solver's numerical tolerance off the bounds that it exceeded."""
    exceeded = {ceiling.name: ceiling.count.at(widths) - ceiling.most for ceiling in over}
    return replace(
        problem,
        ceilings=tuple(
            replace(ceiling, most=ceiling.most - 2 * exceeded.get(ceiling.name, 0.0))
            for ceiling in problem.ceilings
        ),
    )


def _most_important(
    problem: Problem, budget: float, excluded: Collection[Widths]
) -> tuple[Widths, float] | None:
    program = Program(problem.candidates)
    for widths in excluded:
        program.exclude(widths)
    restrain(program, problem.removals, problem.most_removed)
    for bound in _bounds(program, problem, budget):
        program.limit(bound.expression, bound.most)
    return program.minimise(_noise(program, problem))


def _infeasible(problem: Problem, budget: float, excluded: Collection[Widths]) -> BudgetError:
    """Names the bounds that the closest choice exceeds: the one with the least worst excess."""
    program = Program(problem.candidates)
    for widths in excluded:
        program.exclude(widths)
    restrain(program, problem.removals, problem.most_removed)
    worst = program.variable()
    for bound in _bounds(program, problem, budget):
        scale = abs(bound.most) or 1.0
        excess = Expression(-bound.most / scale)
        excess.add(bound.expression, 1.0 / scale)
        excess.add(worst, -1.0)
        program.limit(excess, 0.0)
    closest, _ = program.minimise(worst) or (problem.dense, 0.0)
    needs = {"latency": (problem.predicted(closest), budget, f" {problem.model.unit}")}
    for ceiling in problem.ceilings:
        need = ceiling.count.at(closest)
        if need > needs.get(ceiling.name, (-1.0, 0.0, ""))[0]:
            needs[ceiling.name] = (need, ceiling.most, "")
    exceeded = [name for name, (need, most, _) in needs.items() if need > most] or list(needs)
    figures = ", ".join(
        f"{name} {_number(needs[name][0])}{needs[name][2]} where "
        f"{_number(needs[name][1])}{needs[name][2]} is allowed"
        for name in exceeded
    )
    return BudgetError(
        f"No choice of widths is predicted to meet the budget for {' and '.join(exceeded)}; the "
        f"closest one, {list(closest)}, is predicted to need {figures}."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


@dataclass(frozen=True)
class _Bound:
    expression: Expression
    most: float


def _bounds(program: Program, problem: Problem, budget: float) -> list[_Bound]:
    bounds = [
        _Bound(counted(program, problem.candidates, ceiling.count), ceiling.most)
        for ceiling in problem.ceilings
    ]
    if np.isfinite(budget):
        bounds.append(_Bound(_cost(program, problem), budget))
    return bounds


def _noise(program: Program, problem: Problem) -> Expression:
    """Importance removed over importance kept, added up over the groups, in thousandths.

    The one that each group adds to one over the share kept is left out: the solver's gap is a share
    of all there is, where losses may be thousandths themselves. A millionth is nothing to it.
    """
    total = Expression()
    for group, candidates in enumerate(problem.candidates):
        shares = problem.shares(group)[list(candidates)]
        total.add(program.single(group, (1e3 * (1.0 / shares - 1.0)).tolist()))
    return total


def _cost(program: Program, problem: Problem) -> Expression:
    """Predicted cost of the whole model."""
    total = Expression(problem.overhead)
    total.add(kernel_costs(program, problem.candidates, problem.model, problem.dense))
    return total
