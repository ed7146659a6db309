"""Builds and measures whole models at chosen widths; what was measured is kept over runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tvm_prune.compilation import Compilation, example_inputs
from tvm_prune.latency import (
    Contest,
    Correction,
    Family,
    LatencyModel,
    RecordKey,
    Surroundings,
    WholeModel,
    Widths,
    contrasting_widths,
)
from tvm_prune.measure import FirmwareMeasurer
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model
from tvm_prune.session import Session
from tvm_prune.units import SECONDS

logger = logging.getLogger(__name__)

_LOOKS = 2
"""How many times models are measured, at most, where the machine is disturbed."""
_DENSE_LOOKS = 6
"""The same for the dense model alone: whatever is planned goes by what it costs."""
_NOISY = 0.08
"""Relative spread above which whole models are measured again."""
_KEPT = 75
"""Samples of a model that are kept, at most: those of the last few times it was measured."""


@dataclass
class WholeModels:
    """Whole models on the board.

    Attributes:
        session: the board and the measurements kept over runs.
        compilation: the model at any widths.
        families: its kernels, with the schedules they are built with.
        folder: where compiled models go.
        contest: decides which schedules they are.
        built: widths and rooms that were built by this run.
        costs: what models were found to cost, by their widths.
        room: bytes that the arena of a pruned firmware may take; all that the board has by default.
    """

    session: Session
    compilation: Compilation
    families: Sequence[Family]
    folder: Path
    contest: Contest
    built: set[tuple[Widths, int | None]] = field(default_factory=set)
    costs: dict[Widths, Measurement] = field(default_factory=dict)
    room: int | None = None

    def build(self, widths: Widths) -> Path:
        """Compile the model at some widths, once."""
        room = self._room(widths)
        name = "-".join(["model", *map(str, widths), *([] if room is None else [f"room{room}"])])
        path = self.folder / f"{name}.so"
        if (widths, room) not in self.built:
            self._compile(self.compilation.pruned(self.compilation.plan(widths)), path, room)
            self.built.add((widths, room))
        return path

    def compile(self, model: Model, path: Path) -> None:
        """Compile the dense model at any widths; the fastest schedules on the board win."""
        self._compile(model, path, self.room)

    def _compile(self, model: Model, path: Path, room: int | None) -> None:
        self.compilation.build(model, self.families, self.contest.fastest, path, room)

    def _room(self, widths: Widths) -> int | None:
        """The dense firmware, which all others are compared with, is the fastest one."""
        return None if widths == self.compilation.dense else self.room

    def measure(self, libraries: Sequence[Path], looks: int = _LOOKS) -> list[Measurement]:
        """Measure compiled models now; they take turns, and are comparable with the first one.

        Where the measurements spread widely, they are repeated, and the calmest round counts.

        Args:
            libraries: the models, the dense one first where there are several.
            looks: rounds at most.
        """
        rounds: list[list[Measurement]] = []
        inputs = example_inputs(self.compilation.model)
        for _ in range(looks):
            rounds.append(_compared(self.session.measurer.time_models(libraries, inputs)))
            if _spread(rounds[-1]) <= _NOISY:
                break
        return min(rounds, key=_spread)

    def memory(self, library: Path) -> dict[str, float]:
        """Bytes of ``flash`` and ``ram`` of a firmware; nothing where boards run libraries."""
        measurer = self.session.measurer
        return measurer.memory(library) if isinstance(measurer, FirmwareMeasurer) else {}

    def dense_memory(self) -> dict[str, float]:
        """Bytes of ``flash`` and ``ram`` of the dense model, where it is firmware."""
        if not self.session.board.is_microcontroller:
            return {}
        return self.memory(self.build(self.compilation.dense))

    def dense_cost(self) -> Measurement:
        """Cost of the tuned dense model, from an earlier run where there is one."""
        dense = self.compilation.dense
        if known := self._recorded(dense):
            return known
        [cost] = self.measure([self.build(dense)], _DENSE_LOOKS)
        if cost.spread > _NOISY:
            logger.warning(
                "This machine is busy: measurements of the dense model spread by %.0f %%, and its "
                "cost is that uncertain.",
                100 * cost.spread,
            )
        return self._record(dense, cost)

    @property
    def references(self) -> list[Widths]:
        """Models that are measured before any plan: the dense one, in seconds narrow ones too."""
        if self.session.measurer.unit != SECONDS:
            return [self.compilation.dense]
        return contrasting_widths(self.compilation.dense, self.compilation.limits)

    def surroundings(self, kernels: LatencyModel, total: Callable[[Widths], float]) -> Surroundings:
        """What models add to their kernels, learned from those that are measured before any plan.

        Args:
            kernels: the kernels of the model.
            total: what all of them cost by themselves at some widths.
        """
        return Surroundings.around(
            [
                WholeModel(
                    total(widths), kernels.moved(widths), kernels.calls, self.cost(widths).median
                )
                for widths in self.references
            ],
            kernels.unit,
        )

    @property
    def telling(self) -> dict[Widths, float]:
        """Costs of models that tell of their kernels; where costs are counted, none has to."""
        if self.session.measurer.unit != SECONDS:
            return {}
        return {widths: cost.median for widths, cost in self.costs.items()}

    def in_models(self, kernels: LatencyModel) -> LatencyModel:
        """Kernels as they are called in models, by all models that were measured so far.

        Args:
            kernels: what they cost by themselves.
        """
        around = replace(kernels, surroundings=self.surroundings(kernels, kernels.total))
        return around.explaining(self.telling)

    def correction(self, predicted: Callable[[Widths], float]) -> Correction:
        """What to expect of models for which costs are predicted.

        Args:
            predicted: cost that is predicted at some widths.
        """
        return Correction.through(
            [(predicted(widths), self.cost(widths).median) for widths in self.references]
        )

    def cost(self, widths: Widths) -> Measurement:
        """Cost of the model at some widths, from an earlier run where there is one.

        The dense model is measured in turns with it, and a drift since it was first measured is
        taken out: costs are comparable over the whole run and over runs.
        """
        if widths == self.compilation.dense:
            return self.dense_cost()
        if known := self._recorded(widths):
            return known
        [cost] = self.measured_again([widths])
        return cost

    def measured_again(self, choices: Sequence[Widths]) -> list[Measurement]:
        """Costs of pruned models by a measurement of now, in turns, and by earlier ones.

        Args:
            choices: widths of each; not the dense ones.
        """
        libraries = [self.build(widths) for widths in (self.compilation.dense, *choices)]
        now, *pruned = self.measure(libraries)
        return [self.learn(widths, now, each) for widths, each in zip(choices, pruned, strict=True)]

    def learn(self, widths: Widths, dense_now: Measurement, pruned: Measurement) -> Measurement:
        """What a model costs by all measurements, one of them just made in turns with the dense.

        A measurement that is off is not believed for good: samples of several ones are pooled.
        """
        drift = self.dense_cost().median / dense_now.median
        cost = _without_drift(pruned, drift)
        if known := self._recorded(widths):
            cost = replace(cost, samples=(*known.samples, *cost.samples)[-_KEPT:])
        return self._record(widths, cost)

    def _recorded(self, widths: Widths) -> Measurement | None:
        outcome = self.session.records.get(self._key(widths))
        if not isinstance(outcome, Measurement):
            return None
        self.costs[widths] = outcome
        return outcome

    def _record(self, widths: Widths, cost: Measurement) -> Measurement:
        self.session.records.put({self._key(widths): cost})
        self.costs[widths] = cost
        return cost

    def _key(self, widths: Widths) -> RecordKey:
        """A model is known by its kernels, in order, and by the schedules they were built with."""
        calls = self.compilation.kernel_calls(widths)
        kernels = hashlib.sha256("".join(call.workload.key for call in calls).encode())
        sources = hashlib.sha256("".join(family.source.key for family in self.families).encode())
        room = self._room(widths)
        return RecordKey(
            self.session.board.fingerprint,
            f"model:{kernels.hexdigest()[:16]}",
            sources.hexdigest()[:16] + ("" if room is None else f":{room}"),
        )


def _compared(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Every turn is slowed for all alike: by as much as it was for the first model, others are not.

    Then medians compare as the ratios of single turns do, whose median hardly moves where turns,
    and processes, differ by more than the models.
    """
    first, *others = measurements
    if first.unit != SECONDS:
        return [first, *others]
    slowed = [first.median / taken for taken in first.samples]
    return [first, *(_scaled(other, slowed) for other in others)]


def pooled(first: Sequence[Measurement], again: Sequence[Measurement]) -> list[Measurement]:
    """All samples of models that were measured twice in turns; a drift in between is taken out.

    Args:
        first: what each costs, the dense model first.
        again: the same by another measurement.
    """
    drift = first[0].median / again[0].median
    return [
        replace(one, samples=one.samples + _without_drift(other, drift).samples)
        for one, other in zip(first, again, strict=True)
    ]


def _without_drift(measurement: Measurement, drift: float) -> Measurement:
    """What would have been measured had everything taken `drift` times as long."""
    return _scaled(measurement, [drift] * len(measurement.samples))


def _scaled(measurement: Measurement, factors: Sequence[float]) -> Measurement:
    """Every sample times a factor of its own."""
    samples = (sample * factor for sample, factor in zip(measurement.samples, factors, strict=True))
    return replace(measurement, samples=tuple(samples))


def _spread(measurements: Sequence[Measurement]) -> float:
    """How uncertain they are: where models are compared, what they cost over the first one."""
    return max(measurement.spread for measurement in measurements[1:] or measurements)
