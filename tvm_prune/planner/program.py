"""A mixed-integer linear program over the widths of groups.

One binary variable says which width a group takes. What depends on two groups is a table with a
variable for every pair of widths, tied to the groups' choices by the marginals of the local
polytope; all tables over the same two groups share these variables. The product of any expression
with the width of a group is disaggregated: one variable for each width of the group carries the
expression where that width is chosen and is zero elsewhere, which is exact at every choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

Choice = tuple[int, ...]
"""Width of every group."""

_TIME_LIMIT = 60.0
_GAP = 1e-4


@dataclass
class Expression:
    """A linear expression over the variables of a program.

    Attributes:
        constant: what does not depend on any variable.
        terms: factor of every variable, by its column.
    """

    constant: float = 0.0
    terms: dict[int, float] = field(default_factory=dict)

    def add(self, other: Expression, factor: float = 1.0) -> None:
        """Add a multiple of another expression."""
        self.constant += factor * other.constant
        for column, value in other.terms.items():
            self.terms[column] = self.terms.get(column, 0.0) + factor * value


@dataclass
class _Rows:
    """Linear constraints: entries of a sparse matrix, and the bounds of its rows."""

    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, terms: Mapping[int, float], low: float, high: float) -> None:
        self.rows += [len(self.low)] * len(terms)
        self.columns += terms.keys()
        self.values += terms.values()
        self.low.append(low)
        self.high.append(high)

    def constraint(self, columns: int) -> LinearConstraint:
        shape = (len(self.low), columns)
        matrix = coo_array((self.values, (self.rows, self.columns)), shape=shape).tocsr()
        return LinearConstraint(matrix, np.array(self.low), np.array(self.high))


class Program:
    """Variables for the widths of groups, and what is built from them.

    Args:
        candidates: the widths each group may take.
    """

    def __init__(self, candidates: Sequence[Sequence[int]]) -> None:
        self._candidates = [list(widths) for widths in candidates]
        self._starts = [0, *np.cumsum([len(widths) for widths in self._candidates]).tolist()]
        self._most = [1.0] * self._starts[-1]
        self._rows = _Rows()
        self._pairs: dict[tuple[int, int], NDArray[np.int64]] = {}
        for start, end in pairwise(self._starts):
            self._rows.add(dict.fromkeys(range(start, end), 1.0), 1.0, 1.0)

    def column(self, group: int, choice: int) -> int:
        """The variable that says whether a group takes its candidate at a position."""
        return int(self._starts[group]) + choice

    def single(self, group: int, values: Iterable[float]) -> Expression:
        """What has one value for each candidate of a group."""
        columns = range(self._starts[group], self._starts[group + 1])
        return Expression(terms=dict(zip(columns, values, strict=True)))

    def pair(self, groups: tuple[int, int], table: NDArray[np.float64]) -> Expression:
        """What has one value for each pair of candidates of two groups.

        Args:
            groups: two different groups.
            table: the values, shape (candidates of the first, candidates of the second).
        """
        left, right = sorted(groups)
        ordered = table if groups == (left, right) else table.T
        if (left, right) not in self._pairs:
            self._pairs[left, right] = self._new_pair(left, right)
        columns = self._pairs[left, right].reshape(-1).tolist()
        return Expression(terms=dict(zip(columns, ordered.reshape(-1).tolist(), strict=True)))

    def times(self, factor: Expression, group: int, most: float) -> Expression:
        """An expression times the width of a group.

        Args:
            factor: the expression; never negative.
            group: the group.
            most: upper bound of the expression.
        """
        parts = self._new_columns(len(self._candidates[group]), 1.0)
        share = Expression()
        share.add(factor, 1.0 / most)
        whole = {column: -value for column, value in share.terms.items()}
        self._rows.add(whole | dict.fromkeys(parts, 1.0), share.constant, share.constant)
        for choice, part in enumerate(parts):
            self._rows.add({part: 1.0, self.column(group, choice): -1.0}, -np.inf, 0.0)
        products = [width * most for width in self._candidates[group]]
        return Expression(terms=dict(zip(parts, products, strict=True)))

    def limit(self, expression: Expression, most: float) -> None:
        """Bound an expression from above."""
        scale = abs(most) or 1.0
        terms = {column: value / scale for column, value in expression.terms.items()}
        self._rows.add(terms, -np.inf, (most - expression.constant) / scale)

    def together(self, groups: Sequence[int], width: int) -> Expression:
        """Let groups take a width all together or not at all; tells which, as 1 or 0."""
        first, *others = (
            self.single(group, [float(each == width) for each in self._candidates[group]])
            for group in groups
        )
        for other in others:
            apart = Expression()
            apart.add(first)
            apart.add(other, -1.0)
            self._rows.add(apart.terms, 0.0, 0.0)
        return first

    def exclude(self, choice: Choice) -> None:
        """Forbid one choice of widths."""
        columns = []
        for group, width in enumerate(choice):
            if width not in self._candidates[group]:
                return
            columns.append(self.column(group, self._candidates[group].index(width)))
        self._rows.add(dict.fromkeys(columns, 1.0), -np.inf, len(columns) - 1.0)

    def variable(self) -> Expression:
        """A new variable that is not negative."""
        [column] = self._new_columns(1, np.inf)
        return Expression(terms={column: 1.0})

    def minimise(self, objective: Expression) -> tuple[Choice, float] | None:
        """The choice with the lowest objective and its gap, or None where there is none."""
        costs = np.zeros(len(self._most))
        costs[list(objective.terms)] = list(objective.terms.values())
        integral = np.zeros(len(self._most), dtype=np.int64)
        integral[: self._starts[-1]] = 1
        result = milp(
            costs,
            constraints=[self._rows.constraint(len(self._most))],
            integrality=integral,
            bounds=Bounds(np.zeros(len(self._most)), np.array(self._most)),
            options={"time_limit": _TIME_LIMIT, "mip_rel_gap": _GAP},
        )
        if result.x is None:
            return None
        choice = tuple(
            self._candidates[group][int(np.argmax(result.x[start:end]))]
            for group, (start, end) in enumerate(pairwise(self._starts))
        )
        return choice, float(result.mip_gap or 0.0)

    def _new_columns(self, count: int, most: float) -> range:
        start = len(self._most)
        self._most += [most] * count
        return range(start, start + count)

    def _new_pair(self, left: int, right: int) -> NDArray[np.int64]:
        shape = (len(self._candidates[left]), len(self._candidates[right]))
        columns = np.array(self._new_columns(shape[0] * shape[1], 1.0)).reshape(shape)
        for group, lines in ((left, columns), (right, columns.T)):
            for choice, line in enumerate(lines.tolist()):
                marginal = dict.fromkeys(line, 1.0)
                self._rows.add({**marginal, self.column(group, choice): -1.0}, 0.0, 0.0)
        return columns
