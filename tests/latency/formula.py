"""A board whose cost is a formula, so that truth is known at every width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tvm_prune.latency import Family, Kernel, Sample
from tvm_prune.latency.features import LANES, work


def true_cost(family: Family, widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Work, times how badly the widest innermost tile fills vectors; 2 microseconds at least."""
    extents = family.slots.at(widths)
    amount = work(family, widths) * 1e-9
    if extents.shape[1] == 0:
        return 2e-6 + amount
    inner = family.tilings(extents)[:, :, 3].max(axis=1)
    return 2e-6 + amount * np.ceil(inner / LANES) * LANES / inner


@dataclass
class FormulaCollector:
    """Stands where a collector does; what cannot be measured is left out, as by a real one."""

    families: Sequence[Family]
    broken: frozenset[Kernel] = frozenset()
    asked: list[Kernel] = field(default_factory=list)

    def collect_kernels(self, kernels: Iterable[Kernel]) -> list[Sample]:
        samples = []
        for kernel in kernels:
            self.asked.append(kernel)
            if kernel not in self.broken:
                cost = float(true_cost(self.families[kernel.family], kernel.row)[0])
                samples.append(Sample(kernel.family, kernel.widths, cost, 0.01))
        return samples
