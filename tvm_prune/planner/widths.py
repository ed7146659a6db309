"""Candidate widths of a group: those the board likes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_prune.channels import Limits
from tvm_prune.latency import LatencyModel, Widths

MOST_CANDIDATES = 14


def candidate_widths(
    model: LatencyModel, dense: Widths, limits: Limits, *, spread: bool = False
) -> list[list[int]]:
    """Widths worth choosing, for every group, ascending; the highest allowed is always one.

    A width is worth choosing if every wider one is predicted to cost more while the other groups
    are dense: anything else keeps fewer channels and is no faster.

    Args:
        model: predicts costs.
        dense: dense width of every group.
        limits: lowest and highest width of every group.
        spread: whether width has a price beyond latency, as a bound on parameters gives it. Half
            of the candidates are then spread over all widths, the narrowest one included.
    """
    return [_candidates(model, dense, group, limits[group], spread) for group in range(len(dense))]


def _candidates(
    model: LatencyModel, dense: Widths, group: int, limit: tuple[int, int], spread: bool
) -> list[int]:
    lowest, highest = limit
    widths = np.arange(lowest, highest + 1)
    costs = np.zeros(len(widths))
    for index, family in enumerate(model.families):
        if group not in family.groups:
            continue
        own = np.tile([dense[other] for other in family.groups], (len(widths), 1))
        own[:, family.groups.index(group)] = widths
        costs += model.predict(index, own) * len(family.calls)
    cheapest_above = np.minimum.accumulate(costs[::-1])[::-1]
    good = [
        int(width)
        for position, width in enumerate(widths[:-1])
        if costs[position] < cheapest_above[position + 1]
    ]
    cost = dict(zip(widths.tolist(), costs.tolist(), strict=True))
    most = (MOST_CANDIDATES - 1) // 2 if spread else MOST_CANDIDATES - 1
    chosen = {*_thin_out(good, cost, most), highest}
    if spread:
        chosen |= _spread_out(cost, MOST_CANDIDATES - 1 - most)
    return sorted(chosen)


def _spread_out(cost: dict[int, float], count: int) -> set[int]:
    """The narrowest width, and the cheapest for its size in every stretch of the others."""
    narrowest, *others = sorted(cost)[:-1] or sorted(cost)
    stretches = [part.tolist() for part in np.array_split(others, count - 1) if part.size]
    return {narrowest, *(min(part, key=lambda width: cost[width] / width) for part in stretches)}


def _thin_out(widths: Sequence[int], cost: dict[int, float], most: int) -> list[int]:
    """At most a handful of widths, spread evenly over the costs."""
    if len(widths) <= most:
        return list(widths)
    wanted = np.linspace(cost[widths[0]], cost[widths[-1]], most)
    nearest = {min(widths, key=lambda width: abs(cost[width] - aim)) for aim in wanted.tolist()}
    return sorted(nearest)
