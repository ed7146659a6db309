"""Costs in words: every one is written with the unit that it was measured in."""

from __future__ import annotations

SECONDS = "seconds"
EXACT = frozenset({"instructions", "estimated cycles"})
"""Units that emulated boards count: the same every time, whatever else the machine does."""


def unit_of(clock: str) -> str:
    """What a clock counts, in words: ``estimated cycles`` for the clock ``estimated-cycles``."""
    return clock.replace("-", " ")


def cost_text(cost: float, unit: str) -> str:
    """A cost of a model, for example ``1.234 ms`` or ``12,345,678 instructions``."""
    return f"{cost * 1e3:.3f} ms" if unit == SECONDS else f"{cost:,.0f} {unit}"


def kernel_cost_text(cost: float, unit: str) -> str:
    """A cost of a kernel, for example ``123 us``."""
    return f"{cost * 1e6:.0f} us" if unit == SECONDS else f"{cost:,.0f} {unit}"
