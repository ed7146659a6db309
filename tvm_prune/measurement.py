"""What a board tells about one piece of code, and the protocol every measurer follows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Measurement:
    """The cost of one kernel or model on one board.

    Attributes:
        samples: cost of one call, one entry per repeat, in `unit`.
        unit: ``seconds``, ``instructions`` or ``cycles``; units are never mixed.
    """

    samples: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """Median over the repeats, in `unit`."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Interquartile range of the repeats relative to their median (0 for one repeat)."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / self.median


@dataclass(frozen=True)
class Failure:
    """Why a kernel has no measurement."""

    stage: str
    cause: str


@dataclass(frozen=True)
class Artifact:
    """A built kernel, ready to be measured."""

    path: Path
    arguments: tuple[tuple[str, tuple[int, ...]], ...]
    """dtype and shape of every argument of the kernel's ``main``."""


class Measurer(Protocol):
    """Builds kernels for a board and tells their cost there."""

    @property
    def unit(self) -> str:
        """Unit of every measurement this measurer makes."""

    def build(self, modules: Sequence[Any]) -> list[Artifact | Failure]:
        """Compile scheduled IRModules (each one PrimFunc ``main``), in order, never raising."""

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        """Measure built kernels one after the other, in order, never raising."""

    def close(self) -> None:
        """Stop workers and delete temporary files."""
