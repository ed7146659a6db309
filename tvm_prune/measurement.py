"""What a board tells about one piece of code, and the protocol every measurer follows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy.typing as npt

from tvm_prune.errors import MeasureError
from tvm_prune.machine import UNKNOWN, Conditions

_MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

_OUTLYING = 3.0
"""Standard deviations from the median beyond which a sample is an outlier."""

_NEGLIGIBLE = 0.01
"""Relative distance from the median within which no sample is an outlier."""


LOST = "lost"
"""Stage of a :class:`Failure` that says nothing about the kernel: what should have built or run
it is gone."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Measurement:
    """The cost of one kernel or model on one board.

    Attributes:
        samples: cost of one call, one entry per repeat, in `unit`.
        unit: ``seconds``, ``instructions``, ``cycles`` or ``estimated cycles``; units are never
            mixed.
        conditions: what the machine did meanwhile, as far as it tells.
    """

    samples: tuple[float, ...]
    unit: str
    conditions: Conditions = UNKNOWN

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

    @property
    def outlier_share(self) -> float:
        """Share of the repeats that are outliers, 0..1; the median hardly moves for them.

        A repeat is an outlier where it is further from the median than three standard deviations,
        as estimated from the median absolute deviation (Hampel's identifier), and than 1 %.
        """
        middle = self.median
        distances = [abs(sample - middle) for sample in self.samples]
        usual = _OUTLYING * _MAD_TO_SIGMA * statistics.median(distances)
        limit = max(usual, _NEGLIGIBLE * abs(middle))
        return sum(distance > limit for distance in distances) / len(distances)


@dataclass(frozen=True)
class Failure:
    """Why a kernel has no measurement.

    Attributes:
        stage: ``schedule``, ``build``, ``run``, or ``lost`` (see :data:`LOST`).
        cause: one line.
    """

    stage: str
    cause: str

    @property
    def is_lost(self) -> bool:
        """Whether the kernel is blameless, so that the failure is not to be recorded."""
        return self.stage == LOST


def is_lost(outcome: object) -> TypeGuard[Failure]:
    """Whether an outcome says nothing about the kernel, so that it is not to be recorded."""
    return isinstance(outcome, Failure) and outcome.is_lost


def raise_if_lost(outcomes: Iterable[object]) -> None:
    """Stop where a board or its build workers are gone; to be called when the rest is recorded.

    Raises:
        MeasureError: with the first lost outcome's cause.
    """
    for outcome in outcomes:
        if is_lost(outcome):
            raise MeasureError(outcome.cause)


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
        """Measure built kernels, in order, never raising; they take turns where that matters."""

    def close(self) -> None:
        """Stop workers and delete temporary files."""


class ModelRunner(Protocol):
    """Runs whole compiled models, shared libraries with a Relax ``main``, on a board."""

    def run_model(self, library: Path, inputs: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        """Outputs of a model for every input, nested tuples flattened.

        Args:
            library: the model.
            inputs: for each run, an array for every parameter of ``main``, by name.

        Raises:
            MeasureError: if the model does not run.
        """

    def time_models(
        self, libraries: Sequence[Path], inputs: Mapping[str, Array], *, rounds: int = 15
    ) -> list[Measurement]:
        """Latencies of models that take turns, so that a drift of the machine hits all alike.

        Args:
            libraries: the models.
            inputs: an array for every parameter of ``main``, by name; the same for all models.
            rounds: turns; each gives one sample per model.

        Raises:
            MeasureError: if a model does not run.
        """


class BoardMeasurer(Measurer, ModelRunner, Protocol):
    """Everything that a board is asked: the cost of kernels, and the runs of whole models."""
