"""Candidate widths of a group: those the board likes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tvm_prune.channels import Limits
from tvm_prune.latency import LatencyModel, Widths, friendly_widths
from tvm_prune.units import EXACT

LEAST_CHOICE, MOST_CHOICE = 14, 32
"""Candidates of a group, at most: of large and of small networks."""
_PAIRS = 12_500
"""Pairs of widths of which all kernels together have a cost, at most, for a choice above the least.

Each is a variable of the planner's program.
"""


def candidate_widths(
    model: LatencyModel, dense: Widths, limits: Limits, *, spread: bool = False
) -> list[list[int]]:
    """Widths worth choosing, for every group, ascending; the highest allowed is always one.

    A width is worth choosing if every wider one is predicted to cost more while the other groups
    are dense: anything else keeps fewer channels and is no faster. Where costs are noisy, up to
    half of the choices are widths that schedules like: of the others the model knows less, and
    those that look best among many are often those it errs most about.

    Args:
        model: predicts costs.
        dense: dense width of every group.
        limits: lowest and highest width of every group.
        spread: whether width has a price beyond latency, as a bound on parameters gives it. Half
            of the candidates are then spread over all widths, the narrowest one included.
    """
    most = most_candidates(len(model.families))
    return [
        _candidates(model, dense, group, limits[group], most, spread) for group in range(len(dense))
    ]


def most_candidates(kernels: int) -> int:
    """How many widths a group may choose of, at most, in a network of so many kernels."""
    return min(max(math.isqrt(_PAIRS // max(kernels, 1)), LEAST_CHOICE), MOST_CHOICE)


def _candidates(
    model: LatencyModel, dense: Widths, group: int, limit: tuple[int, int], most: int, spread: bool
) -> list[int]:
    """At most so many of the widths within a limit."""
    lowest, highest = limit
    widths = np.arange(lowest, highest + 1)
    costs = np.zeros(len(widths))
    for index, family in enumerate(model.families):
        if group not in family.groups:
            continue
        own = np.tile([dense[other] for other in family.groups], (len(widths), 1))
        own[:, family.groups.index(group)] = widths
        costs += model.predict(index, own) * len(family.calls)
    cost = dict(zip(widths.tolist(), costs.tolist(), strict=True))
    cheap = (most - 1) // 2 if spread else most - 1
    reliable = [] if model.unit in EXACT else _worthwhile(friendly_widths(*limit), cost)
    chosen = {*_thin_out(reliable, cost, (cheap + 1) // 2), highest}
    chosen |= set(_thin_out(_worthwhile(sorted(cost), cost), cost, cheap - len(chosen) + 1))
    if spread:
        chosen |= _spread_out(cost, most - 1 - cheap)
    return sorted(chosen)


def _worthwhile(widths: Sequence[int], cost: dict[int, float]) -> list[int]:
    """Those below the widest, ascending, that cost less than every wider one."""
    found: list[int] = []
    cheapest_above = math.inf
    for width in reversed(widths):
        if cost[width] < cheapest_above and width != widths[-1]:
            found.append(width)
        cheapest_above = min(cheapest_above, cost[width])
    return found[::-1]


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
