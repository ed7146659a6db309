"""The planner: most importance kept within a latency budget, solved exactly.

One binary variable says which width a group takes. A kernel that depends on two groups has a
variable for every pair of widths, tied to the groups' choices by the marginals of the local
polytope; the mixed-integer linear program goes to HiGHS. A kernel that depends on more groups (the
consumer of a long concatenation) is counted as its dense cost plus what each group alone changes.

What is maximised is the harmonic mean over the groups of the share of importance that is kept.
Removed importance is noise to what is kept, and the noise-to-signal ratios, removed over kept, of
layers that follow one another add up; their sum is least where that mean is largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from tvm_prune.errors import BudgetError
from tvm_prune.latency import Family, LatencyModel, Widths

_TIME_LIMIT = 60.0
_GAP = 1e-4


@dataclass(frozen=True)
class Solution:
    """The widths that keep most importance.

    Attributes:
        widths: chosen width of every group.
        importance: harmonic mean over the groups of the share of importance kept, 0..1.
        predicted: predicted cost of the whole model.
        gap: relative distance to the best possible objective.
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
    """

    model: LatencyModel
    dense: Widths
    candidates: Sequence[Sequence[int]]
    scores: Sequence[NDArray[np.float64]]
    overhead: float

    def predicted(self, widths: Widths) -> float:
        """Predicted cost of the whole model at some widths."""
        return self.model.total(widths) + self.overhead

    def importance(self, widths: Widths) -> float:
        """Importance kept at some widths: harmonic mean over the groups of the share kept."""
        shares = [
            kept_shares(score)[width] for score, width in zip(self.scores, widths, strict=True)
        ]
        return float(1.0 / np.mean(1.0 / np.array(shares)))


def kept_shares(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a group's importance that its best units hold, by width: shape (width + 1,)."""
    total = np.cumsum(np.sort(score)[::-1])
    return np.concatenate([[0.0], total / total[-1]])


def solve(problem: Problem, budget: float) -> Solution:
    """Choose the width of every group.

    Args:
        problem: costs and importance.
        budget: bound on the cost of the whole model, in the model's unit.

    Raises:
        BudgetError: if no choice of candidates is predicted to meet the budget.
    """
    program = _Program(problem)
    result = program.run(budget)
    if result is None:
        fastest = program.fastest()
        raise BudgetError(
            f"No choice of widths is predicted to meet {budget:.4g} {problem.model.unit}; the "
            f"fastest one, {list(fastest)}, is predicted to need "
            f"{problem.predicted(fastest):.4g} {problem.model.unit}."
        )
    widths, gap = result
    return Solution(widths, problem.importance(widths), problem.predicted(widths), gap)


class _Program:
    """The mixed-integer program: columns are widths of groups, then pairs of widths."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        sizes = [len(widths) for widths in problem.candidates]
        self._starts = [0, *np.cumsum(sizes).tolist()]
        self._cost = [0.0] * self._starts[-1]
        self._constant = problem.overhead
        self._rows: list[list[tuple[int, float]]] = []
        self._bounds: list[float] = []
        for group, size in enumerate(sizes):
            self._equal([(self._column(group, choice), 1.0) for choice in range(size)], 1.0)
        for index, family in enumerate(problem.model.families):
            self._add_family(index, family)

    def run(self, budget: float) -> tuple[Widths, float] | None:
        """Widths with most importance within the budget, and the gap; None if there are none."""
        return self._milp([-gain for gain in self._gains()], budget)

    def fastest(self) -> Widths:
        """The widths with the lowest predicted cost."""
        result = self._milp(self._cost, None)
        return self._problem.dense if result is None else result[0]

    def _column(self, group: int, choice: int) -> int:
        return int(self._starts[group]) + choice

    def _equal(self, entries: list[tuple[int, float]], value: float) -> None:
        self._rows.append(entries)
        self._bounds.append(value)

    def _add_family(self, index: int, family: Family) -> None:
        model = self._problem.model
        grid = [self._problem.candidates[group] for group in family.groups]
        calls = len(family.calls)
        if len(grid) == 2:
            pairs = np.array([(a, b) for a in grid[0] for b in grid[1]], dtype=np.int64)
            table = model.predict(index, pairs).reshape(len(grid[0]), len(grid[1])) * calls
            self._add_pair(family.groups[0], family.groups[1], table)
            return
        dense = np.array([[self._problem.dense[group] for group in family.groups]])
        base = float(model.predict(index, dense)[0]) * calls
        self._constant += base
        for position, group in enumerate(family.groups):
            widths = np.tile(dense, (len(grid[position]), 1))
            widths[:, position] = grid[position]
            change = model.predict(index, widths) * calls - base
            for choice, value in enumerate(change.tolist()):
                self._cost[self._column(group, choice)] += value

    def _add_pair(self, left: int, right: int, table: NDArray[np.float64]) -> None:
        """One column a pair of widths; their marginals are the groups' own choices."""
        start = len(self._cost)
        self._cost += table.reshape(-1).tolist()
        columns = np.arange(start, start + table.size).reshape(table.shape)
        for group, lines in ((left, columns), (right, columns.T)):
            for choice, line in enumerate(lines):
                marginal = [(int(column), 1.0) for column in line]
                self._equal([*marginal, (self._column(group, choice), -1.0)], 0.0)

    def _gains(self) -> list[float]:
        """Minus one over the share of importance kept; pairs of widths have none of their own."""
        gains = [0.0] * len(self._cost)
        for group, score in enumerate(self._problem.scores):
            shares = kept_shares(score)
            for choice, width in enumerate(self._problem.candidates[group]):
                gains[self._column(group, choice)] = -1.0 / float(shares[width])
        return gains

    def _milp(self, objective: list[float], budget: float | None) -> tuple[Widths, float] | None:
        constraints = [self._choices()]
        scale = self._problem.predicted(self._problem.dense) or 1.0
        if budget is not None:
            row = np.array(self._cost)[None, :] / scale
            constraints.append(LinearConstraint(row, -np.inf, (budget - self._constant) / scale))
        integral = np.zeros(len(self._cost), dtype=np.int64)
        integral[: self._starts[-1]] = 1
        result = milp(
            np.array(objective),
            constraints=constraints,
            integrality=integral,
            bounds=Bounds(0, 1),
            options={"time_limit": _TIME_LIMIT, "mip_rel_gap": _GAP},
        )
        if result.x is None:
            return None
        widths = tuple(
            int(self._problem.candidates[group][int(np.argmax(result.x[start:end]))])
            for group, (start, end) in enumerate(pairwise(self._starts))
        )
        return widths, float(result.mip_gap or 0.0)

    def _choices(self) -> LinearConstraint:
        entries = [
            (row, column, value) for row, line in enumerate(self._rows) for column, value in line
        ]
        rows, columns, values = (np.array(part) for part in zip(*entries, strict=True))
        shape = (len(self._rows), len(self._cost))
        matrix = coo_array((values, (rows, columns)), shape=shape).tocsr()
        return LinearConstraint(matrix, np.array(self._bounds), np.array(self._bounds))
