"""What is predicted and what is counted of a model, as linear expressions over its widths.

A kernel that depends on one or two groups is a table of predicted costs. One that depends on more
(the consumer of a concatenation) is what each of them alone changes of the dense kernel, and what
two of them change together beyond that, where its work goes by the product of their widths: for
that product itself this is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as choices_of

import numpy as np
from numpy.typing import NDArray

from tvm_prune.latency import LatencyModel, Widths
from tvm_prune.planner.counts import Count, Product
from tvm_prune.planner.program import Expression, Program

Candidates = Sequence[Sequence[int]]
"""Widths each group may take."""


def kernel_costs(
    program: Program, candidates: Candidates, model: LatencyModel, dense: Widths
) -> Expression:
    """Predicted cost of all kernel calls.

    Args:
        program: has the variables.
        candidates: widths each group may take.
        model: predicts costs.
        dense: dense width of every group.
    """
    total = Expression()
    for index, family in enumerate(model.families):
        kernel = _KernelCost(model, index, family.groups, candidates, dense)
        total.add(kernel.expression(program), len(family.calls))
    return total


class _KernelCost:
    """Predicted cost of one call of a kernel."""

    def __init__(
        self,
        model: LatencyModel,
        index: int,
        groups: tuple[int, ...],
        candidates: Candidates,
        dense: Widths,
    ) -> None:
        self._model, self._index, self._groups = model, index, groups
        self._grid = [list(candidates[group]) for group in groups]
        self._dense = [dense[group] for group in groups]

    def expression(self, program: Program) -> Expression:
        """The cost at every choice of candidates."""
        if len(self._groups) == 2:
            return program.pair((self._groups[0], self._groups[1]), self._at([0, 1]))
        base = float(self._at([]))
        alone = [self._at([position]) - base for position in range(len(self._groups))]
        total = Expression(base)
        for group, change in zip(self._groups, alone, strict=True):
            total.add(program.single(group, change.tolist()))
        if len(self._groups) > 2:
            for left, right in self._model.multiplied(self._index):
                both = self._at([left, right]) - base
                both -= alone[left][:, None] + alone[right][None, :]
                total.add(program.pair((self._groups[left], self._groups[right]), both))
        return total

    def _at(self, positions: Sequence[int]) -> NDArray[np.float64]:
        """Costs at all candidates of some groups, one axis each, where the others are dense."""
        grid = [self._grid[position] for position in positions]
        chosen = np.array(list(choices_of(*grid)), dtype=np.int64)
        widths = np.tile(np.array(self._dense, dtype=np.int64), (len(chosen), 1))
        widths[:, list(positions)] = chosen
        costs = self._model.in_model(self._index, widths)
        return costs.reshape([len(each) for each in grid])


def counted(program: Program, candidates: Candidates, count: Count) -> Expression:
    """A count of the whole model, exact at every choice."""
    total = Expression()
    for product in count.products:
        total.add(_product(program, candidates, product))
    return total


def _product(program: Program, candidates: Candidates, product: Product) -> Expression:
    groups = product.groups
    if not groups:
        return Expression(float(product.at({})))
    if len(groups) == 1:
        [group] = groups
        return program.single(group, [float(product.at({group: w})) for w in candidates[group]])
    if len(groups) == 2:
        left, right = groups
        table = [
            [float(product.at({left: a, right: b})) for b in candidates[right]]
            for a in candidates[left]
        ]
        return program.pair((left, right), np.array(table))
    total, most = Expression(1.0), 1.0
    for axis in sorted(product.extents, key=lambda axis: -len(axis.slopes)):
        grown = Expression()
        grown.add(total, float(axis.base))
        for group, slope in axis.slopes:
            grown.add(_scaled(program, total, group, most, candidates[group]), float(slope))
        total = grown
        most *= axis.at({group: max(candidates[group]) for group, _ in axis.slopes})
    whole = Expression()
    whole.add(total, float(product.coefficient))
    return whole


def _scaled(
    program: Program, factor: Expression, group: int, most: float, widths: Sequence[int]
) -> Expression:
    """An expression times the width of a group."""
    if factor.terms:
        return program.times(factor, group, most)
    return program.single(group, [factor.constant * width for width in widths])
