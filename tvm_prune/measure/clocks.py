"""What the clocks of servers count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm_prune.connections import ESTIMATED_CYCLES, INSTRUCTIONS
from tvm_prune.units import EXACT, SECONDS, unit_of

_DIGITS = 3


@dataclass(frozen=True)
class Clock:
    """A clock that answers in seconds, whatever it counts.

    Attributes:
        name: as boards and servers call it.
        unit: what it counts.
        per_second: how many of them it tells as a second.
    """

    name: str
    unit: str
    per_second: float

    @property
    def exact(self) -> bool:
        """Whether it gives the same answer each time."""
        return self.unit in EXACT

    def cost(self, seconds: float) -> float:
        """What the clock has counted while it said `seconds`; fractions come from means."""
        return round(seconds * self.per_second, _DIGITS) if self.exact else seconds


CLOCKS: Mapping[str, Clock] = {
    clock.name: clock
    for clock in (
        Clock("seconds", SECONDS, 1.0),
        Clock(INSTRUCTIONS, unit_of(INSTRUCTIONS), 1e9),
        # In thousandths, so that what code costs is a whole number.
        Clock(ESTIMATED_CYCLES, unit_of(ESTIMATED_CYCLES), 1e6),
    )
}
"""Clocks of boards, by name."""
