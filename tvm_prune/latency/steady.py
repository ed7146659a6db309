"""Measurements on a machine that does other things as well.

The kernels of a batch take turns, and a few reference kernels take turns with them. Where those are
slower than they usually are, or a measurement spreads widely, the batch or the kernel is measured
again: what else runs on a machine only ever adds to a kernel's cost. By how much the references
differ even then is taken out: some machines slow down for minutes. One reference would not do:
what disturbs one kernel may leave another as it was. Hence, too, several looks at every kernel.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer

logger = logging.getLogger(__name__)

Outcome = Measurement | Failure

_NOISY = 0.08
"""Relative spread above which a kernel is measured again."""

_DRIFTED = 1.08
"""Cost of the reference kernels over their usual one above which a batch is measured again."""

_MOST_LOOKS = 4
"""How many times a kernel is measured, at most, where the machine is disturbed."""


@dataclass(frozen=True)
class Reference:
    """A kernel whose cost should not change.

    Attributes:
        artifact: the built kernel.
        usual: what it cost when all began.
    """

    artifact: Artifact
    usual: float


@dataclass
class SteadyRunner:
    """Runs kernels, again where the machine was disturbed.

    Attributes:
        measurer: runs them.
        references: kernels that tell how fast the machine is; none skips the drift check.
        looks: how many times every kernel is measured on a calm machine.
        repeated: kernel runs beyond those.
    """

    measurer: Measurer
    references: Sequence[Reference] = ()
    looks: int = 1
    repeated: int = 0

    def run(self, artifacts: Sequence[Artifact]) -> list[Outcome]:
        """What each kernel costs, in order: all samples of its calm looks.

        Where it never got calm, the samples of the calmest look. A kernel that fails in its first
        look is not run again.
        """
        taken: list[list[_Look]] = [[] for _ in artifacts]
        for _ in range(max(self.looks, _MOST_LOOKS)):
            pending = [position for position, own in enumerate(taken) if self._is_wanted(own)]
            if not pending:
                break
            self.repeated += sum(len(taken[position]) >= self.looks for position in pending)
            drift, outcomes = self._once([artifacts[position] for position in pending])
            for position, outcome in zip(pending, outcomes, strict=True):
                taken[position].append(_Look(drift, outcome))
        disturbed = sum(not any(look.is_calm for look in own) for own in taken)
        if disturbed:
            logger.info("%d kernels were measured on a disturbed machine", disturbed)
        return [_together(own) for own in taken]

    def _is_wanted(self, looks: Sequence[_Look]) -> bool:
        failed = bool(looks) and isinstance(looks[0].outcome, Failure)
        return not failed and sum(look.is_calm for look in looks) < self.looks

    def _once(self, artifacts: Sequence[Artifact]) -> tuple[float, list[Outcome]]:
        """One round of measurements, and how slow the references were meanwhile."""
        known = [reference.artifact for reference in self.references]
        outcomes = self.measurer.run([*known, *artifacts])
        drifts = [
            outcome.median / reference.usual
            for reference, outcome in zip(self.references, outcomes, strict=False)
            if isinstance(outcome, Measurement)
        ]
        return statistics.median(drifts or [1.0]), outcomes[len(known) :]


@dataclass(frozen=True)
class _Look:
    """One measurement of a kernel.

    Attributes:
        drift: cost of the references meanwhile, over their usual one.
        outcome: what the board said.
    """

    drift: float
    outcome: Outcome

    @property
    def is_calm(self) -> bool:
        return self.disturbance <= _NOISY and self.drift <= _DRIFTED

    @property
    def disturbance(self) -> float:
        """Spread of the samples; a failure is further from calm than any."""
        return self.outcome.spread if isinstance(self.outcome, Measurement) else float("inf")

    @property
    def samples(self) -> tuple[float, ...]:
        """What the kernel would have cost at the references' usual cost."""
        assert isinstance(self.outcome, Measurement)
        return tuple(sample / self.drift for sample in self.outcome.samples)


def _together(looks: Sequence[_Look]) -> Outcome:
    first = looks[0].outcome
    if isinstance(first, Failure):
        return first
    calm = [look for look in looks if look.is_calm]
    used = calm or [min(looks, key=lambda look: look.drift + look.disturbance)]
    return replace(first, samples=tuple(sample for look in used for sample in look.samples))
