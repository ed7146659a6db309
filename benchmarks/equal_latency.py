"""The widest model of a family that is fast enough, found by measuring few of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from tvm_prune.errors import BudgetError

MOST_TRIES = 6
CLOSE_ENOUGH = 0.97
AIM = 0.985
"""Share of the bound to try for."""
_POWER = 1.5
"""Of its share that a model's latency goes by, before any was measured: work goes by the first
power of some shares and by the square of others."""
_LEAST_POWER = 0.5
_MARGIN = 0.1
"""Share of what is left between two tries that the next one stays away from either."""

Choice = TypeVar("Choice")


def widest_within(
    ratio: float, at: Callable[[float], Choice], measure: Callable[[Choice], float]
) -> tuple[Choice, float]:
    """The widest choice within a latency ratio, and its own.

    Args:
        ratio: bound on the measured latency over the dense one's.
        at: the choice that keeps about a share, 0..1, of what the side counts.
        measure: latency ratio of a choice.
    """
    low, high, best = (0.0, 0.0), (1.0, 1.0), None
    for _ in range(MOST_TRIES):
        share = _between(low, high, AIM * ratio)
        choice = at(share)
        measured = measure(choice)
        if measured <= ratio:
            low, best = (share, measured), (choice, measured)
            if measured >= CLOSE_ENOUGH * ratio:
                break
        else:
            high = (share, measured)
    if best is None:
        raise BudgetError(f"Nothing was measured within {ratio}x.")
    return best


def _between(low: tuple[float, float], high: tuple[float, float], aim: float) -> float:
    """A share between two, where the latency ratio should be what is aimed at.

    Args:
        low: a share, and a ratio below the aim.
        high: a share, and a ratio above it.
        aim: the ratio.
    """
    share: float = high[0] * (aim / high[1]) ** (1 / _power(low, high))
    margin = _MARGIN * (high[0] - low[0])
    return min(max(share, low[0] + margin), high[0] - margin)


def _power(low: tuple[float, float], high: tuple[float, float]) -> float:
    """The power of the share that the latency ratio goes by, through two points."""
    if low[0] > 0:
        return math.log(high[1] / low[1]) / math.log(high[0] / low[0])
    if high[0] < 1:
        return max(_LEAST_POWER, math.log(high[1]) / math.log(high[0]))
    return _POWER
