"""Measurements on a machine that does other things as well.

The kernels of a batch take turns, and a reference kernel takes turns with them. Where it is slower
than it was at its best, or a measurement spreads widely, the batch or the kernel is measured again,
and the calmest measurement counts: what else runs on a machine only ever adds to a kernel's cost.
By how much the reference was slower even then is taken out: some machines slow down for minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer

logger = logging.getLogger(__name__)

Outcome = Measurement | Failure

_NOISY = 0.08
"""Relative spread above which a kernel is measured again."""

_DRIFTED = 1.08
"""Cost of the reference kernel over its best one above which a batch is measured again."""

_LOOKS = 4


@dataclass
class SteadyRunner:
    """Runs kernels, again where the machine was disturbed.

    Attributes:
        measurer: runs them.
        reference: a kernel whose cost should not change; None skips the drift check.
        best: lowest cost of the reference so far.
        repeated: kernel runs that were repeated.
    """

    measurer: Measurer
    reference: Artifact | None = None
    best: float = float("inf")
    repeated: int = 0

    def run(self, artifacts: Sequence[Artifact]) -> list[Outcome]:
        """The calmest measurement of each kernel, in order."""
        kept: list[tuple[float, Outcome]] | None = None
        pending = list(range(len(artifacts)))
        for look in range(_LOOKS):
            if not pending:
                break
            drift, outcomes = self._once([artifacts[position] for position in pending])
            self.repeated += len(pending) if look else 0
            fresh = [(drift, outcome) for outcome in outcomes]
            if kept is None:
                kept = fresh
            for position, entry in zip(pending, fresh, strict=True):
                kept[position] = min(kept[position], entry, key=_disturbance)
            pending = [position for position in pending if _is_disturbed(kept[position])]
        if pending:
            logger.info("%d kernels were measured on a disturbed machine", len(pending))
        return [_without_drift(entry) for entry in kept or []]

    def _once(self, artifacts: Sequence[Artifact]) -> tuple[float, list[Outcome]]:
        """One round of measurements, and how slow the reference was meanwhile."""
        if self.reference is None:
            return 1.0, self.measurer.run(artifacts)
        reference, *outcomes = self.measurer.run([self.reference, *artifacts])
        if not isinstance(reference, Measurement):
            return 1.0, outcomes
        self.best = min(self.best, reference.median)
        return reference.median / self.best, outcomes


def _without_drift(entry: tuple[float, Outcome]) -> Outcome:
    """What a kernel would have cost if the reference had been as fast as at its best."""
    drift, outcome = entry
    if isinstance(outcome, Failure):
        return outcome
    return replace(outcome, samples=tuple(sample / drift for sample in outcome.samples))


def _disturbance(entry: tuple[float, Outcome]) -> float:
    """How far a measurement is from a calm one; a failure is further than any."""
    drift, outcome = entry
    return drift + outcome.spread if isinstance(outcome, Measurement) else float("inf")


def _is_disturbed(entry: tuple[float, Outcome]) -> bool:
    drift, outcome = entry
    return isinstance(outcome, Measurement) and (drift > _DRIFTED or outcome.spread > _NOISY)
