"""Candidate widths of a group: those the board likes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_prune.channels import Limits
from tvm_prune.latency import LatencyModel, Widths

MOST_CANDIDATES = 14


def candidate_widths(model: LatencyModel, dense: Widths, limits: Limits) -> list[list[int]]:
    """Widths worth choosing, for every group, ascending; the highest allowed is always one.

    A width is worth choosing if every wider one is predicted to cost more while the other groups
    are dense: anything else keeps fewer channels and is no faster.
    """
    return [_candidates(model, dense, group, *limit) for group, limit in enumerate(limits)]


def _candidates(
    model: LatencyModel, dense: Widths, group: int, lowest: int, highest: int
) -> list[int]:
    widths = np.arange(lowest, highest + 1)
    cost = np.zeros(len(widths))
    for index, family in enumerate(model.families):
        if group not in family.groups:
            continue
        own = np.tile([dense[other] for other in family.groups], (len(widths), 1))
        own[:, family.groups.index(group)] = widths
        cost += model.predict(index, own) * len(family.calls)
    cheapest_above = np.minimum.accumulate(cost[::-1])[::-1]
    good = [
        int(width)
        for position, width in enumerate(widths[:-1])
        if cost[position] < cheapest_above[position + 1]
    ]
    return [*_thin_out(good, dict(zip(widths.tolist(), cost.tolist(), strict=True))), highest]


def _thin_out(widths: Sequence[int], cost: dict[int, float]) -> list[int]:
    """At most a handful of widths, spread evenly over the costs."""
    if len(widths) < MOST_CANDIDATES:
        return list(widths)
    wanted = np.linspace(cost[widths[0]], cost[widths[-1]], MOST_CANDIDATES - 1)
    nearest = {min(widths, key=lambda width: abs(cost[width] - aim)) for aim in wanted.tolist()}
    return sorted(nearest)
