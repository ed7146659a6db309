"""A latency model that is nothing but tables, and the best choice found by trying all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, cast

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tvm_prune.latency import LatencyModel
from tvm_prune.planner import Problem

Widths = tuple[int, ...]


@dataclass(frozen=True)
class TableFamily:
    """A kernel whose cost at every width of its groups is written down."""

    groups: tuple[int, ...]
    calls: tuple[int, ...]
    table: NDArray[np.float64]
    """Cost of one call by width, one axis a group; entry 0 of each axis is never used."""


@dataclass(frozen=True)
class TableModel:
    """Stands in for a fitted latency model."""

    families: Sequence[TableFamily]
    unit: str = "seconds"
    hoped: Sequence[TableFamily] | None = None
    """Costs that kernels may turn out to have; the same by default."""

    def hopeful(self) -> TableModel:
        return TableModel(self.hoped or self.families, self.unit)

    def in_model(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.predict(family, widths)

    def multiplied(self, family: int) -> list[tuple[int, int]]:
        """All of a kernel's groups change its cost together, those of every other kernel do not."""
        size = len(self.families[family].groups)
        return list(combinations(range(size), 2)) if family % 2 else []

    def predict(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        table = self.families[family].table
        return np.array([table[tuple(row)] for row in widths.astype(int)])

    def total(self, widths: Widths) -> float:
        return sum(
            float(family.table[tuple(widths[group] for group in family.groups)]) * len(family.calls)
            for family in self.families
        )


def problem_of(
    families: Sequence[TableFamily],
    dense: Widths,
    *,
    scores: Sequence[NDArray[np.float64]] | None = None,
    candidates: Sequence[Sequence[int]] | None = None,
    overhead: float = 0.0,
) -> Problem:
    """A planning problem with constant importance and every width a candidate by default."""
    return Problem(
        model=cast("LatencyModel", TableModel(families)),
        dense=dense,
        candidates=candidates or [range(1, width + 1) for width in dense],
        scores=scores or [np.ones(width) for width in dense],
        overhead=overhead,
    )


def modelled_cost(problem: Problem, widths: Widths) -> float:
    """What the planner counts: kernels of three or more groups by what one or two change."""
    total = problem.overhead
    model: Any = problem.model
    for index, family in enumerate(model.families):
        own = tuple(widths[group] for group in family.groups)
        dense = tuple(problem.dense[group] for group in family.groups)
        if len(own) < 3:
            cost = family.table[own]
        else:
            base = family.table[dense]
            alone = [_changed(family, dense, own, i) - base for i in range(len(own))]
            cost = base + sum(alone)
            for i, j in model.multiplied(index):
                cost += _changed(family, dense, own, i, j) - base - alone[i] - alone[j]
        total += float(cost) * len(family.calls)
    return total


def _changed(family: TableFamily, dense: Widths, own: Widths, *positions: int) -> float:
    """Cost of a kernel where some of its groups have their own width, the others the dense one."""
    chosen = tuple(own[i] if i in positions else width for i, width in enumerate(dense))
    return float(family.table[chosen])


def choices(problem: Problem) -> list[Widths]:
    """Every choice of candidates."""
    return list(product(*problem.candidates))


@st.composite
def problems(draw: st.DrawFn, unit_cost: float = 1.0) -> Problem:
    """Up to four groups, kernels of no, one, two and three groups, some called twice."""
    dense = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    families = []
    for position in range(draw(st.integers(1, 6))):
        size = int(generator.integers(0, min(3, len(dense)) + 1))
        groups = tuple(sorted(generator.permutation(len(dense))[:size].tolist()))
        table = generator.uniform(1, 10, [dense[group] + 1 for group in groups]) * unit_cost
        calls = tuple(range(10 * position, 10 * position + int(generator.integers(1, 3))))
        families.append(TableFamily(groups, calls, table))
    candidates = [sorted({*generator.integers(1, width + 1, 3).tolist(), width}) for width in dense]
    scores = [generator.uniform(0.05, 1, width) for width in dense]
    overhead = float(generator.choice([0.0, 3.0])) * unit_cost
    return problem_of(families, dense, scores=scores, candidates=candidates, overhead=overhead)
