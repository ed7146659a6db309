"""Budgets: what the pruned model may cost."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tvm_prune.errors import BudgetError

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
EXAMPLES = "'8ms', '350us', '0.5x' (half of the dense model's latency)"


@dataclass(frozen=True)
class LatencyBudget:
    """An upper bound on the latency of one inference, absolute or relative to the dense model.

    Attributes:
        seconds: the bound in seconds, or None where it is relative.
        ratio: the bound as a share of the dense model's measured latency, or None.
    """

    seconds: float | None = None
    ratio: float | None = None

    @classmethod
    def parse(cls, text: str | float) -> LatencyBudget:
        """Read '8ms', '350us', '0.5x' or a number of seconds.

        Raises:
            BudgetError: if the text is none of these or not positive.
        """
        if isinstance(text, int | float):
            return cls._checked(str(text), seconds=float(text))
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(s|ms|us|µs|x)\s*", text)
        if match is None:
            raise BudgetError(f"Cannot read the latency budget '{text}'; write {EXAMPLES}.")
        value, unit = float(match.group(1)), match.group(2)
        if unit == "x":
            return cls._checked(text, ratio=value)
        return cls._checked(text, seconds=value * SECONDS[unit])

    @classmethod
    def _checked(
        cls, text: str, seconds: float | None = None, ratio: float | None = None
    ) -> LatencyBudget:
        if not (seconds or ratio or 0) > 0:
            raise BudgetError(f"The latency budget '{text}' must be positive; write {EXAMPLES}.")
        if ratio is not None and ratio > 1:
            raise BudgetError(
                f"The latency budget '{text}' is above the dense model's own latency; "
                "a relative budget lies between 0x and 1x."
            )
        return cls(seconds, ratio)

    def resolve(self, dense: float) -> float:
        """The bound in the unit of `dense`, the dense model's measured latency."""
        return self.ratio * dense if self.ratio is not None else float(self.seconds or 0.0)

    def __str__(self) -> str:
        if self.ratio is not None:
            return f"{self.ratio:g}x"
        return f"{(self.seconds or 0.0) * 1e3:g} ms"
