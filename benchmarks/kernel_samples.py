"""Models with tuned and measured kernels: all that the latency benchmark takes from the product."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.kernel_geometry import Structure, geometry, structure_of
from benchmarks.predictors import Costs, Kernel
from tvm_prune.channels import find_channels, width_limits
from tvm_prune.compilation import Compilation
from tvm_prune.console import ConsoleProgress
from tvm_prune.frontend import load
from tvm_prune.importance import Context, score_units
from tvm_prune.latency import (
    Collector,
    Effort,
    Family,
    LatencyFitter,
    LatencyModel,
    Sample,
    Widths,
    open_records,
    sample_widths,
)
from tvm_prune.latency import Kernel as KernelAtWidths
from tvm_prune.measurement import Failure
from tvm_prune.search import Search
from tvm_prune.session import Session
from tvm_prune.settings import Settings


@dataclass
class Subject:
    """A model on a board, with the product's stages run on it one after the other.

    Attributes:
        name: what the results call it.
        search: the product's run on it; its kernels are tuned.
        measurements: kernels that may be measured to fit its latency model.
    """

    name: str
    search: Search
    measurements: int

    @property
    def families(self) -> Sequence[Family]:
        """The kernels of the model, each over all widths."""
        return self.search.families

    @property
    def dense(self) -> Widths:
        """Dense width of every group."""
        return self.search.compilation.dense

    @cached_property
    def latency_model(self) -> LatencyModel:
        """The product's model, fitted to the kernels that the product chose to measure."""
        return self.search.fit(Effort(self.measurements))

    def learned_what_is_unsure(self, variants: Sequence[Widths]) -> LatencyModel:
        """The product's model after it has measured what it may not predict of some variants."""
        search = self.search
        unsure = (kernel for widths in variants for kernel in self.latency_model.unsure(widths))
        search.fitter.add(search.collector.collect_kernels(unsure))
        search.fitter.add(search.collector.collect(search.models.references))
        return search.fitter.fit()

    @property
    def samples(self) -> list[Sample]:
        """What the latency model was fitted to."""
        return list(self.search.fitter.samples.values())

    @cached_property
    def structures(self) -> list[Structure]:
        """What each family computes."""
        return [structure_of(family.workload) for family in self.families]

    def kernel(self, family: int, widths: tuple[int, ...]) -> Kernel:
        """A family at some widths of its own groups."""
        own, structure = self.families[family], self.structures[family]
        shapes = _shapes(own, widths)
        return Kernel(
            model=self.name,
            family=family,
            widths=widths,
            calls=len(own.calls),
            geometry=geometry(structure, shapes),
            identity=f"{own.source.key} {structure.fused} {shapes}",
        )

    def kernels_at(self, widths: Widths) -> list[Kernel]:
        """Every kernel of the model at some widths of all groups."""
        return [
            self.kernel(index, tuple(widths[group] for group in family.groups))
            for index, family in enumerate(self.families)
        ]

    def kernels_of(self, samples: Sequence[Sample]) -> list[Kernel]:
        """The kernels that were measured."""
        return [self.kernel(sample.family, sample.widths) for sample in samples]

    @property
    def dense_samples(self) -> list[Sample]:
        """The dense kernels among the samples."""
        dense = {(kernel.family, kernel.widths) for kernel in self.kernels_at(self.dense)}
        return [sample for sample in self.samples if (sample.family, sample.widths) in dense]

    def choices(self, count: int, seed: int) -> list[Widths]:
        """Random widths of all groups, of the kind that the product measures and plans with."""
        limits = self.search.compilation.limits
        return list(itertools.islice(sample_widths(limits, seed), count))

    def measure(self, choices: Sequence[Widths]) -> tuple[list[Sample], list[Failure]]:
        """Measure all kernels at each choice of widths, and learn nothing from them."""
        collector = self.search.collector
        failed_before = len(collector.failures)
        samples = collector.collect(choices)
        return samples, collector.failures[failed_before:]

    def measure_again(self, kernels: Sequence[Kernel], scratch: Path) -> list[Sample]:
        """Measure kernels as if they never were measured before.

        Args:
            kernels: some of this model's.
            scratch: file for the measurements, which nobody else reads.
        """
        session = self.search.session
        wanted = [KernelAtWidths(kernel.family, kernel.widths) for kernel in kernels]
        with open_records(scratch) as records:
            collector = Collector(
                self.families,
                session.measurer,
                records,
                session.board.fingerprint,
                session.target,
            )
            return collector.collect_kernels(wanted)

    def interval(self, kernel: Kernel) -> tuple[float, float]:
        """Lowest and highest cost of a kernel that the product finds plausible."""
        widths = np.array([kernel.widths], dtype=np.int64)
        lowest, highest = self.latency_model.interval(kernel.family, widths)[0].tolist()
        return lowest, highest


def open_subjects(
    paths: Mapping[str, Path],
    session: Session,
    settings: Settings,
    measurements: int,
    folder: Path,
) -> list[Subject]:
    """Load and tune models, so that their kernels can be measured.

    Args:
        paths: model files by name.
        session: the board and what is kept over runs.
        settings: effort of tuning; seed and cache.
        measurements: kernels that may be measured to fit the latency models of all subjects; each
            gets a share by its number of families.
        folder: where compiled models go.
    """
    searches = {}
    for name, path in paths.items():
        own = folder / name
        own.mkdir()
        compilation = _compilation(path, session, settings)
        searches[name] = Search(session, compilation, settings, ConsoleProgress(), own)
        searches[name].tune()
    families = sum(len(search.families) for search in searches.values())
    return [
        Subject(name, search, measurements * len(search.families) // families)
        for name, search in searches.items()
    ]


def _compilation(path: Path, session: Session, settings: Settings) -> Compilation:
    model = load(path)
    channels = find_channels(model.module)
    scores = score_units(Context(channels, model.parameters, settings.seed), "l2")
    limits = width_limits(channels, settings.max_sparsity)
    return Compilation(model, channels, scores, limits, session.target, board=session.board)


def predict_by_latency_model(model: LatencyModel, kernels: Sequence[Kernel]) -> Costs:
    """The product's predictions; the families of the kernels must be those of the model."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, kernel in enumerate(kernels):
        rows[kernel.family].append(row)
    result = np.empty(len(kernels))
    for family, own in rows.items():
        widths = [kernels[row].widths for row in own]
        shape = (len(own), len(widths[0]))
        result[own] = model.predict(family, np.array(widths, dtype=np.int64).reshape(shape))
    return result


def predict_new_model(
    subject: Subject, others: Sequence[Subject], kernels: Sequence[Kernel]
) -> Costs:
    """The product's predictions for a model of which nothing but its dense kernels was measured.

    Args:
        subject: the model that the kernels belong to.
        others: models all of whose samples are learned from.
        kernels: kernels of `subject`.
    """
    families: list[Family] = []
    samples: list[Sample] = []
    learned = [(subject, subject.dense_samples), *((other, other.samples) for other in others)]
    for member, own in learned:
        samples += [
            Sample(len(families) + sample.family, sample.widths, sample.cost, sample.spread)
            for sample in own
        ]
        families += member.families
    fitter = LatencyFitter(families, subject.latency_model.unit)
    fitter.add(samples)
    return predict_by_latency_model(fitter.fit(), kernels)


def _shapes(family: Family, widths: tuple[int, ...]) -> list[list[int]]:
    """Shape of every argument of a family at some widths."""
    row = np.array([widths], dtype=np.float64).reshape(1, len(widths))
    extents = iter(family.arguments.at(row)[0].tolist())
    return [[next(extents) for _ in range(rank)] for rank in family.ranks]
