"""The widest model of a family that is fast enough, found by measuring few of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tvm_prune.errors import BudgetError

MOST_TRIES = 6
CLOSE_ENOUGH = 0.97
AIM = 0.985
"""Share of the bound to try for."""
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
    low, high, best = (0.05, 0.0), (1.0, 1.0), None
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
    way = (aim - low[1]) / (high[1] - low[1])
    return low[0] + min(max(way, _MARGIN), 1 - _MARGIN) * (high[0] - low[0])
