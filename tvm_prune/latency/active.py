"""Active sampling: measure what the fit needs most, until held-out kernels are predicted well.

Every family starts from a few kernels spread over its widths. Then come rounds: the model is
fitted, and the kernels are measured for which its interval is widest, in units of the whole model's
cost. The kernels on which the error is told are chosen at random before anything is measured, and
the fit does not see them until the error is told for the last time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels import Limits
from tvm_prune.latency.collect import Collector
from tvm_prune.latency.contest import BATCH
from tvm_prune.latency.families import Family
from tvm_prune.latency.fitter import LatencyFitter
from tvm_prune.latency.intervals import distances
from tvm_prune.latency.model import LatencyModel
from tvm_prune.latency.samples import Kernel, Sample, dense_kernels, kernels_at
from tvm_prune.latency.sampling import friendly_widths, sample_widths
from tvm_prune.units import EXACT

MOST_MEASUREMENTS = 1500
HELD_OUT_SHARE = 0.15
FIRST = 4
"""Kernels of each family, the dense one aside, that are measured before the first fit."""

_POOL = 192
_ROUND = 3 * BATCH
_MOST_OF_A_FAMILY = 6
"""Kernels of one family in one round; the next fit knows better which of the others are needed."""

_IRREGULAR = 0.25
_IRREGULAR_WHERE_EXACT = 1.0
"""Arbitrary widths that there are to choose from, for each one that schedules like. What compilers
make of odd extents can be learned where costs are exact; elsewhere much of it drowns in noise."""

_MOST_HELD_OUT = 120
_FEWEST_HELD_OUT = 8

Wanted = Callable[[LatencyModel], Sequence[Kernel]]
"""Kernels of the plans that would be chosen with a model."""

OnProgress = Callable[[int, int, str], None]
"""Told kernels known, kernels wanted, and what is under way."""


@dataclass(frozen=True)
class Effort:
    """When to stop measuring.

    Attributes:
        measurements: kernels that may be used, those known from earlier runs included.
        seconds: time that may be spent.
        within_10_percent: share of held-out kernels that are predicted well enough, 0..1.
    """

    measurements: int = MOST_MEASUREMENTS
    seconds: float = math.inf
    within_10_percent: float = 0.9


@dataclass
class ActiveSampler:
    """Chooses kernels, has them measured, and fits.

    Attributes:
        families: the kernels of the model.
        limits: lowest and highest width of every group.
        collector: measures.
        fitter: learns; what it knows already is used.
        effort: when to stop.
        seed: seed of all random choices.
        on_progress: told where it is.
        wanted: tells what planning would use; half of each round at most.
    """

    families: Sequence[Family]
    limits: Limits
    collector: Collector
    fitter: LatencyFitter
    effort: Effort
    seed: int = 0
    on_progress: OnProgress = lambda _done, _total, _detail: None
    wanted: Wanted = lambda _model: ()
    _pools: dict[int, list[Kernel]] = field(default_factory=dict)
    _asked: set[Kernel] = field(default_factory=set)
    _started: float = field(default_factory=time.monotonic)

    def run(self) -> LatencyModel:
        """Measure until the target is met or the effort is spent; the model knows everything.

        Raises:
            MeasureError: if a dense kernel cannot be measured.
        """
        self.fitter.add(self.collector.collect_kernels(dense_kernels(self.families)))
        if not self.fitter.held_out and not self.fitter.is_told:
            self.fitter.hold_out(self._measure(self._random_kernels(), "kernels to tell errors on"))
        self._learn(self._first_kernels(), "some kernels of every family")
        model = self.fitter.fit()
        while not self._is_enough(model):
            wanted = self._neediest(model)
            if not wanted:
                break
            self._learn(wanted, f"held-out kernels within 10 %: {_share(model)}")
            model = self.fitter.fit()
        self.fitter.release()
        return self.fitter.fit()

    @property
    def known(self) -> int:
        """Kernels measured so far, held-out ones included."""
        return len(self.fitter.samples) + len(self.fitter.held_out)

    @property
    def _remaining(self) -> int:
        return max(0, self.effort.measurements - self.known)

    def _learn(self, kernels: Sequence[Kernel], what: str) -> None:
        self.fitter.add(self._measure(kernels[: self._remaining], what))

    def _measure(self, kernels: Sequence[Kernel], what: str) -> list[Sample]:
        """Measure kernels, a batch at a time, until the time is spent."""
        samples: list[Sample] = []
        for start in range(0, len(kernels), BATCH):
            if self._is_late:
                break
            self.on_progress(self.known + len(samples), self.effort.measurements, what)
            batch = kernels[start : start + BATCH]
            self._asked.update(batch)
            samples += self.collector.collect_kernels(batch)
        return samples

    @property
    def _is_late(self) -> bool:
        return time.monotonic() - self._started > self.effort.seconds

    def _is_enough(self, model: LatencyModel) -> bool:
        error, aim = model.error, self.effort.within_10_percent
        met = error.samples > 0 and error.within_10_percent >= aim
        return met or self._is_late or self._remaining == 0

    def _random_kernels(self) -> list[Kernel]:
        """Pruned kernels at random widths, to tell the error on."""
        share = round(HELD_OUT_SHARE * self.effort.measurements)
        count = min(max(share, _FEWEST_HELD_OUT), _MOST_HELD_OUT)
        models = islice(sample_widths(self.limits, self.seed + 1), count)
        kernels = {k for widths in models for k in kernels_at(self.families, widths)}
        pruned = sorted(kernels - set(dense_kernels(self.families)), key=_order)
        chosen = np.random.default_rng(self.seed).permutation(len(pruned))[:count]
        return [pruned[index] for index in chosen.tolist()]

    def _first_kernels(self) -> list[Kernel]:
        """A few kernels of each family, far from one another and from those that are known."""
        return [
            kernel
            for index in range(len(self.families))
            for _, kernel in self._spread_out(
                index, FIRST + 1 - len(self._known(index)), lambda _pool: 1.0
            )
        ]

    def _neediest(self, model: LatencyModel) -> list[Kernel]:
        """What planning would use, and the widest intervals in units of the model's cost."""
        planned = [kernel for kernel in self.wanted(model) if self._is_new(kernel)]
        scored: list[tuple[float, Kernel]] = []
        for index, family in enumerate(self.families):
            scale = model.intervals.scale_of(index) * len(family.calls)

            def need(pool: NDArray[np.int64], index: int = index, scale: float = scale) -> Any:
                return scale * model.predict(index, pool)

            scored += self._spread_out(index, _MOST_OF_A_FAMILY, need)
        scored.sort(key=lambda entry: -entry[0])
        chosen = dict.fromkeys(planned[: _ROUND // 2])
        return list(chosen | dict.fromkeys(kernel for _, kernel in scored))[:_ROUND]

    def _spread_out(
        self, family: int, count: int, need: Callable[[NDArray[np.int64]], Any]
    ) -> list[tuple[float, Kernel]]:
        """Kernels of the pool that need measuring most, each far from those before it.

        How much a kernel needs it grows with the distance to the next known one.
        """
        pool = [kernel for kernel in self._pool(family) if self._is_new(kernel)]
        if not pool:
            return []
        widths = np.array([kernel.widths for kernel in pool], dtype=np.int64)
        known = [kernel.widths for kernel in self._known(family)]
        points = np.log2(widths)
        shape = (len(known), widths.shape[1])
        away = distances(points, np.log2(np.array(known, dtype=np.float64).reshape(shape)))
        needs = need(widths) * np.ones(len(pool))
        chosen: list[tuple[float, Kernel]] = []
        for _ in range(min(count, len(pool))):
            scores = needs * (1.0 + away) * (away > 0)
            best = int(np.argmax(scores))
            if scores[best] <= 0:
                break
            chosen.append((float(scores[best]), pool[best]))
            away = np.minimum(away, distances(points, points[best : best + 1]))
        return chosen

    def _pool(self, family: int) -> list[Kernel]:
        """Widths of a family to choose from: friendly ones mostly, as planning prefers them."""
        if family not in self._pools:
            groups = self.families[family].groups
            if not groups:
                return []
            generator = np.random.default_rng([self.seed, family])
            limits = [self.limits[group] for group in groups]
            choices = [friendly_widths(*limit) for limit in limits]
            if math.prod(map(len, choices)) <= _POOL:
                widths = list(product(*choices))
            else:
                drawn = [generator.choice(choice, size=_POOL) for choice in choices]
                widths = list(zip(*(column.tolist() for column in drawn), strict=True))
            share = _IRREGULAR_WHERE_EXACT if self.fitter.unit in EXACT else _IRREGULAR
            count = int(share * len(widths))
            drawn = [generator.integers(low, high + 1, size=count) for low, high in limits]
            others = zip(*(column.tolist() for column in drawn), strict=True)
            unique = dict.fromkeys(tuple(map(int, row)) for row in (*widths, *others))
            self._pools[family] = [Kernel(family, row) for row in unique]
        return self._pools[family]

    def _known(self, family: int) -> list[Kernel]:
        return [s.kernel for s in self.fitter.samples.values() if s.family == family]

    def _is_new(self, kernel: Kernel) -> bool:
        key = (kernel.family, kernel.widths)
        known = key in self.fitter.samples or key in self.fitter.held_out
        return not known and kernel not in self._asked


def _order(kernel: Kernel) -> tuple[int, tuple[int, ...]]:
    return kernel.family, kernel.widths


def _share(model: LatencyModel) -> str:
    return f"{model.error.within_10_percent:.0%}" if model.error.samples else "not known yet"
