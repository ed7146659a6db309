"""What the clocks of servers count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_prune.errors import MeasureError
from tvm_prune.measure.facts import describe_server

_DIGITS = 3


@dataclass(frozen=True)
class Clock:
    """A clock that answers in seconds, whatever it counts.

    Attributes:
        unit: what it counts.
        per_second: how many of them it tells as a second.
        exact: whether it gives the same answer each time.
    """

    unit: str
    per_second: float
    exact: bool

    def cost(self, seconds: float) -> float:
        """What the clock has counted while it said `seconds`; fractions come from means."""
        return round(seconds * self.per_second, _DIGITS) if self.exact else seconds


CLOCKS: Mapping[str, Clock] = {
    "seconds": Clock("seconds", 1.0, exact=False),
    "instructions": Clock("instructions", 1e9, exact=True),
}
"""Clocks of boards, by the unit that their files name."""


def check_clock(session: Any, clock: str) -> None:
    """Check that a server's clock counts what it should.

    Raises:
        MeasureError: if it counts something else: units are never mixed.
    """
    counted = describe_server(session).get("clock", "seconds")
    if counted != clock:
        raise MeasureError(
            f"the server's clock counts {counted}, but its board is measured in {clock}"
        )
