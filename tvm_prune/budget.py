"""Budgets: what the pruned model may cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tvm_prune.errors import BudgetError
from tvm_prune.units import SECONDS

Costs = Mapping[str, float]
"""What a model costs, by name of the quantity."""


@dataclass(frozen=True)
class Quantity:
    """Something that a budget can bound.

    Attributes:
        noun: what it is called in sentences.
        units: size of every unit that may be written behind a number; ``""`` is no unit at all.
        shown: the unit in which an absolute budget is shown.
        examples: how a budget may be written.
    """

    noun: str
    units: Mapping[str, float]
    shown: str
    examples: str


_COUNT_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_CLOCK_COUNTS = {
    unit.replace(" ", ""): unit for unit in ("instructions", "estimated cycles", "cycles")
}
"""Units of boards that tell no time, by how budgets are read: without blanks."""
_BYTE_UNITS = {"": 1.0, "B": 1.0, "KB": 1024.0, "MB": 1024.0**2}

QUANTITIES: Mapping[str, Quantity] = {
    "latency": Quantity(
        "latency",
        _TIME_UNITS
        | {prefix + text: size for text in _CLOCK_COUNTS for prefix, size in _COUNT_UNITS.items()},
        " ms",
        "'8ms', '350us', '0.5x' (half of the dense model's latency); for a microcontroller "
        "'20M instructions' under QEMU, '20M cycles' on a board",
    ),
    "parameters": Quantity(
        "number of parameters",
        _COUNT_UNITS,
        "",
        "'120k', '1.2M', '0.5x' (half of the dense model's parameters)",
    ),
    "macs": Quantity(
        "number of multiply-accumulates",
        _COUNT_UNITS,
        "",
        "'30M', '1.8G', '0.5x' (half of the dense model's multiply-accumulates)",
    ),
    "flash": Quantity(
        "flash of a microcontroller",
        _BYTE_UNITS,
        " KB",
        "'256KB', '1MB', '0.5x' (half of the dense firmware's flash)",
    ),
    "ram": Quantity(
        "RAM of a microcontroller",
        _BYTE_UNITS,
        " KB",
        "'64KB', '0.5x' (half of the dense firmware's RAM)",
    ),
}
"""What can be bounded, by the name of the option."""


@dataclass(frozen=True)
class Budget:
    """An upper bound on one quantity, absolute or relative to the dense model.

    Attributes:
        quantity: name of the quantity, from ``QUANTITIES``.
        amount: the bound in seconds, or a count; None where it is relative.
        ratio: the bound as a share of what the dense model costs, or None.
        unit: of a latency, ``seconds`` or one of the counts of ``_CLOCK_COUNTS``; None where it
            may be any.
    """

    quantity: str
    amount: float | None = None
    ratio: float | None = None
    unit: str | None = None

    @classmethod
    def parse(cls, quantity: str, text: str | float) -> Budget:
        """Read '8ms', '1.2M', '0.5x', or a number of seconds, parameters or the like.

        Args:
            quantity: name of the quantity, from ``QUANTITIES``.
            text: the budget as the user gives it.

        Raises:
            BudgetError: if the text is no budget for this quantity or not positive.
        """
        if isinstance(text, int | float):
            return cls._checked(quantity, str(text), amount=float(text))
        kind = QUANTITIES[quantity]
        units = "|".join(sorted(kind.units, key=len, reverse=True))
        number = r"\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*"
        match = re.fullmatch(rf"{number}(x|{units})\s*", re.sub(r"[\s-]+(?=[a-z])", "", text))
        if match is None:
            raise BudgetError(
                f"Cannot read the budget '{text}' for the {kind.noun}; write {kind.examples}."
            )
        value, unit = float(match.group(1)), match.group(2)
        if unit == "x":
            return cls._checked(quantity, text, ratio=value)
        return cls._checked(
            quantity, text, amount=value * kind.units[unit], unit=_unit_of(quantity, unit)
        )

    @classmethod
    def _checked(
        cls,
        quantity: str,
        text: str,
        amount: float | None = None,
        ratio: float | None = None,
        unit: str | None = None,
    ) -> Budget:
        kind = QUANTITIES[quantity]
        if not (amount or ratio or 0) > 0:
            raise BudgetError(
                f"The budget '{text}' for the {kind.noun} must be positive; write {kind.examples}."
            )
        if ratio is not None and ratio > 1:
            raise BudgetError(
                f"The budget '{text}' is above the dense model's own {kind.noun}; "
                "a relative budget lies between 0x and 1x."
            )
        return cls(quantity, amount, ratio, unit)

    def resolve(self, dense: float) -> float:
        """The bound in the unit of `dense`, what the dense model costs."""
        return self.ratio * dense if self.ratio is not None else float(self.amount or 0.0)

    def __str__(self) -> str:
        if self.ratio is not None:
            return f"{self.ratio:g}x"
        if self.unit in _CLOCK_COUNTS.values():
            return f"{self.amount:,.0f} {self.unit}"
        kind = QUANTITIES[self.quantity]
        amount = (self.amount or 0.0) / kind.units[kind.shown.strip()]
        return f"{amount:,.0f}" if not kind.shown else f"{amount:g}{kind.shown}"


def _unit_of(quantity: str, unit: str) -> str | None:
    """What a board measures where a latency has this unit."""
    if quantity != "latency":
        return None
    counted = (counted for text, counted in _CLOCK_COUNTS.items() if unit.endswith(text))
    return next(counted, SECONDS)


def absolute_bytes(quantity: str, text: str) -> int:
    """Bytes of a size of memory that is no share of anything.

    Raises:
        BudgetError: if it cannot be read, or is relative.
    """
    amount = Budget.parse(quantity, text).amount
    if amount is None:
        noun = QUANTITIES[quantity].noun
        raise BudgetError(f"There is no dense {noun} that '{text}' is a share of; write '64KB'.")
    return int(amount)


@dataclass(frozen=True)
class Budgets:
    """All budgets of one run; each quantity occurs at most once.

    Attributes:
        rows: the budgets.
    """

    rows: tuple[Budget, ...]

    @classmethod
    def parse(cls, **texts: str | float | Budget | None) -> Budgets:
        """Read budgets by name of the quantity; None stands for no budget.

        Raises:
            BudgetError: if one cannot be read, or there is none at all.
        """
        given = {name: text for name, text in texts.items() if text is not None}
        if not given:
            names = ", ".join(QUANTITIES)
            raise BudgetError(f"There is no budget; give at least one of {names}.")
        return cls(
            tuple(
                text if isinstance(text, Budget) else Budget.parse(name, text)
                for name, text in given.items()
            )
        )

    def get(self, quantity: str) -> Budget | None:
        """The budget for a quantity, or None."""
        return next((row for row in self.rows if row.quantity == quantity), None)

    def check(self, board: str, unit: str, is_microcontroller: bool = False) -> None:
        """Make sure that the budgets make sense on a board.

        Args:
            board: its name.
            unit: of the board's measurements.
            is_microcontroller: whether models become firmware for it.

        Raises:
            BudgetError: if a latency has another unit, or a memory is bounded that is not the
                model's own.
        """
        memory = [name for name in ("flash", "ram") if self.get(name)]
        if memory and not is_microcontroller:
            raise BudgetError(
                f"A budget for {' and '.join(memory)} needs a microcontroller "
                "(`tvm-prune boards`); here, --parameters bounds a model's size."
            )
        latency = self.get("latency")
        if latency is not None and latency.unit not in (None, unit):
            written = "8ms" if unit == SECONDS else f"20M {unit}"
            raise BudgetError(
                f"The latency budget '{latency}' is in {latency.unit}, but the board '{board}' "
                f"measures in {unit}; give the budget relative to the dense model, for example "
                f"'0.5x', or as '{written}' or the like."
            )

    def bounds(self, dense: Costs) -> dict[str, float]:
        """Bound of every quantity that has a budget.

        Args:
            dense: what the dense model costs.
        """
        return {row.quantity: row.resolve(dense[row.quantity]) for row in self.rows}

    def limits(self, dense: Costs) -> dict[str, float]:
        """Bound of every quantity that has a budget, and of the latency: never above the dense.

        Args:
            dense: what the dense model costs.
        """
        bounds = {"latency": dense["latency"], **self.bounds(dense)}
        return {**bounds, "latency": min(bounds["latency"], dense["latency"])}

    def missed(self, costs: Costs, dense: Costs) -> tuple[str, ...]:
        """Quantities of which a model needs more than allowed, or is slower than the dense one.

        Args:
            costs: what the model costs.
            dense: what the dense model costs, its latency measured in turns with the model's.
        """
        return tuple(name for name, limit in self.limits(dense).items() if costs[name] > limit)

    def __str__(self) -> str:
        if [row.quantity for row in self.rows] == ["latency"]:
            return str(self.rows[0])
        return ", ".join(f"{row.quantity} {row}" for row in self.rows) or "none"
