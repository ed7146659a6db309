"""Make the seed traces that come with the package, for one class of processors.

    python -m scripts.tune_seeds --work seeds-work
    python -m scripts.tune_seeds --work seeds-work --board aarch64-qemu --clock estimated-cycles
    python -m scripts.tune_seeds --work seeds-work --extend
    python -m scripts.tune_seeds --work seeds-work --ranker

Typical layers are tuned on a board of the class, the best schedules of each are measured again in
turns, and the fastest are kept; for a microcontroller, of those that take no more memory than its
rule does. Then narrower layers are scheduled with what was kept, all variants are measured, and the
ranker that chooses among variants is trained on that. Where costs are seconds, run it on a quiet
machine. It takes an hour and a half on two cores, longer where they are emulated; the ranker alone
takes 45 minutes. It goes on where it was interrupted, and writes
``tvm_prune/tuning/seeds/PROCESSOR.json.gz``.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.seed_layers import LAYERS, SMALL_LAYERS, Layer, workload_of_layer
from tvm_prune.board import Board
from tvm_prune.board_choice import chosen_board
from tvm_prune.errors import TuningError
from tvm_prune.latency import RecordKey, friendly_widths, program_digest
from tvm_prune.machine import core_count
from tvm_prune.mcu.unpack import unpacked
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer, raise_if_lost
from tvm_prune.session import Session, open_session
from tvm_prune.tuning import (
    TraceLibrary,
    TunedTrace,
    Workload,
    default_schedule,
    structure_of,
    tune,
)
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.library import PROCESSORS, SEEDS, processor_of, read_library, write_library
from tvm_prune.tuning.ranking import program_features, train_ranker
from tvm_prune.tuning.traces import search_trace_to_json
from tvm_prune.tuning.transfer import transfer
from tvm_prune.tuning.variants import variants
from tvm_prune.units import EXACT

GENERIC_CPU = {"x86-avx2": "haswell"}
"""LLVM's CPU to compile for where the board's own would be of a more capable class."""

_KEPT = 2
_CANDIDATES = 24
"""Of the tuned schedules of a kernel, the fastest of which is looked for in turns."""
_TURNS = 3
_NARROWINGS = 6
_NARROWEST = 0.2
_NEAREST = 12
"""Traces that a narrower layer is scheduled with: more than the product tries, and worse ones. A
ranker that has only seen good schedules cannot tell them from others."""
_VARIANTS = 2
"""Schedules of each trace that compete at a narrower width."""
_MOST_MACS = 30e6
"""Of a layer that an emulated board runs within seconds."""
_HELD_OUT = 5
"""Every which kernel is held out to tell how good the ranker is."""


def main() -> None:
    """Tune, measure again, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="host", help="of the class; this machine by default")
    parser.add_argument("--clock", help="what to measure in, where the board has several clocks")
    parser.add_argument("--processor", choices=list(PROCESSORS), help="default: the board's class")
    parser.add_argument("--trials", type=int, default=64, help="per layer")
    parser.add_argument("--work", type=Path, required=True, help="keeps what was tuned so far")
    parser.add_argument("--output", type=Path, default=SEEDS)
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--extend", action="store_true", help="tune what has no traces yet; the ranker stays"
    )
    known.add_argument(
        "--ranker", action="store_true", help="tune nothing; train the ranker anew on what is known"
    )
    options = parser.parse_args()
    board = _board(chosen_board(options.board, options.clock), options.processor)
    layers = SMALL_LAYERS if board.is_microcontroller else LAYERS
    if board.is_slow:
        layers = [layer for layer in layers if layer.macs <= _MOST_MACS]
    with open_session(board, options.work) as session:
        path = options.output / f"{processor_of(session.target)}.json.gz"
        keeps = (options.extend or options.ranker) and path.exists()
        shipped = read_library(path) if keeps else TraceLibrary()
        seeder = Seeder(session)
        workloads = [] if options.ranker else _unknown(layers, shipped, session.target)
        seeder.tune(workloads, options.trials, _others(options.output, session.target))
        seeds = [*shipped.traces, *seeder.fastest(workloads)]
        if not seeds:
            raise SystemExit(f"{path} has no traces to train a ranker on: leave --ranker out")
        stays = options.extend and shipped.ranker
        booster = stays.booster if stays else seeder.ranker(seeds, layers)
    options.output.mkdir(parents=True, exist_ok=True)
    write_library(path, seeds, booster)
    print(f"{len(seeds)} traces, those of {len(workloads)} layers are new, written to {path}")


def _board(board: Board, processor: str | None) -> Board:
    """The board, compiled for as if it were of a less capable class where that is wanted."""
    if processor in GENERIC_CPU:
        board = replace(board, target={**board.target, "mcpu": GENERIC_CPU[processor]})
    own = processor_of(board.tvm_target())
    if own is None or processor not in (None, own):
        raise SystemExit(
            f"the processor of {board.name} is {own}; classes: {', '.join(PROCESSORS)}"
        )
    return board


def _unknown(layers: Sequence[Layer], library: TraceLibrary, target: Any) -> list[Workload]:
    """The kernels of the layers that a library has no trace of."""
    known = {trace.structure for trace in library.traces}
    workloads = [workload_of_layer(layer, target) for layer in layers]
    return [each for each in workloads if structure_of(each) not in known]


def _others(folder: Path, target: Any) -> TraceLibrary:
    """What was found for other processors: where tuning starts."""
    library = TraceLibrary()
    own = processor_of(target)
    for processor in PROCESSORS:
        path = folder / f"{processor}.json.gz"
        if processor != own and path.exists():
            library = library.with_traces(read_library(path).traces)
    return library


@dataclass(frozen=True)
class Seeder:
    """Finds seed traces, and trains the ranker.

    Attributes:
        session: the board, what was tuned and what was measured.
    """

    session: Session

    @property
    def target(self) -> Any:
        """What to compile for."""
        return self.session.target

    def tune(self, workloads: Sequence[Workload], trials: int, library: TraceLibrary) -> None:
        """Tune every kernel."""
        measurer = self.session.measurer
        for number, workload in enumerate(workloads, start=1):
            report = tune(
                {workload: 1.0}, self.target, measurer, self.session.database,
                trials_per_kernel=trials, library=library,
            )  # fmt: skip
            for kernel in report.kernels:
                best = "nothing" if kernel.best is None else f"{kernel.best:.3g} {measurer.unit}"
                print(f"{number} of {len(workloads)}: {kernel.trials} trials, {best}", flush=True)

    def fastest(self, workloads: Sequence[Workload]) -> Iterator[TunedTrace]:
        """The best traces of every kernel, by measurements that take turns."""
        for workload in workloads:
            key = self.session.database.commit_workload(workload.mod)
            records = self.session.database.get_top_k(key, _CANDIDATES)
            made = ((each.trace, transfer(each.trace, workload, self.target)) for each in records)
            most = self._most_workspace(workload)
            little = (each for each in made if most is None or self._workspace(each[1]) <= most)
            is_exact = self.session.measurer.unit in EXACT
            found = list(islice(little, _KEPT if is_exact else None))
            costs = self._costs(workload, [schedule for _, schedule in found])
            for position in np.argsort(costs)[:_KEPT]:
                text = search_trace_to_json(found[position][0])
                yield TunedTrace(structure_of(workload), text, float(costs[position]))

    def _most_workspace(self, workload: Workload) -> int | None:
        """Bytes that a schedule for a microcontroller may take for itself: those of the rule."""
        if not self.session.board.is_microcontroller:
            return None
        return self._workspace(default_schedule(workload, self.target))

    def _workspace(self, schedule: Any) -> int:
        _, signatures = unpacked({"main": schedule.mod["main"]}, self.target)
        return signatures["main"].workspace_bytes

    def ranker(self, seeds: Sequence[TunedTrace], layers: Sequence[Layer]) -> Any:
        """Train the ranker on variants for narrower layers; print how good it is on unseen ones."""
        library = TraceLibrary(seeds)
        generator = random.Random(0)
        rows: list[NDArray[Any]] = []
        costs: list[NDArray[Any]] = []
        kernels: list[NDArray[Any]] = []
        for layer in layers:
            for number in range(_NARROWINGS):
                narrower = _narrowed(layer, generator, friendly=number % 2 == 0)
                wanted = workload_of_layer(narrower, self.target)
                competitors, features = self._competitors(wanted, library)
                measured = self._costs(wanted, competitors)
                usable = np.flatnonzero(np.isfinite(measured))
                if len(usable) < 2:
                    continue
                rows.append(features[usable])
                costs.append(measured[usable])
                kernels.append(np.full(len(usable), len(kernels)))
            print(f"variants measured: {sum(map(len, costs))}", flush=True)
        _tell_quality(rows, costs, kernels)
        return train_ranker(np.concatenate(rows), np.concatenate(costs), np.concatenate(kernels))

    def _costs(self, workload: Workload, schedules: Sequence[Any]) -> NDArray[np.float64]:
        """Median cost of every schedule, infinite where it does not run; measured once each."""
        records, board = self.session.records, self.session.board.fingerprint
        keys = [
            RecordKey(board, workload.key, f"seed:{program_digest(each)}") for each in schedules
        ]
        new = {
            key: s for key, s in zip(keys, schedules, strict=True) if not records.is_settled(key)
        }
        outcomes = measured_in_turns(list(new.values()), self.session.measurer)
        records.put(dict(zip(new, outcomes, strict=True)))
        raise_if_lost(outcomes)
        known = [records.get(key) for key in keys]
        return np.array(
            [each.median if isinstance(each, Measurement) else math.inf for each in known]
        )

    def _competitors(
        self, wanted: Workload, library: TraceLibrary
    ) -> tuple[list[Any], NDArray[np.float32]]:
        """What the nearest traces and the rule offer for a kernel, and the features of each."""
        target = self.target
        context = tune_context(wanted.mod, target, threads=core_count())
        found: list[Any] = []
        for trace in library.nearest(wanted, target, _NEAREST):
            found += islice(variants(trace, wanted, target, context), _VARIANTS)
        with suppress(TuningError):
            found.append(default_schedule(wanted, target))
        features = program_features(found, context)
        _, different = np.unique(features, axis=0, return_index=True)
        return [found[position] for position in different], features[different]


def measured_in_turns(schedules: Sequence[Any], measurer: Measurer) -> list[Measurement | Failure]:
    """What every schedule costs, over turns: one sample each, its median."""
    built = measurer.build([schedule.mod for schedule in schedules])
    positions = [i for i, artifact in enumerate(built) if isinstance(artifact, Artifact)]
    taken: list[list[Measurement | Failure]] = [
        [each] if isinstance(each, Failure) else [] for each in built
    ]
    for _ in range(1 if measurer.unit in EXACT else _TURNS):
        outcomes = measurer.run([built[position] for position in positions])  # type: ignore[misc]
        for position, outcome in zip(positions, outcomes, strict=True):
            taken[position].append(outcome)
    return [_over_turns(own) for own in taken]


def _over_turns(outcomes: Sequence[Measurement | Failure]) -> Measurement | Failure:
    measured = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
    if not measured:
        return outcomes[0]
    return replace(measured[0], samples=tuple(outcome.median for outcome in measured))


def _tell_quality(
    rows: list[NDArray[Any]], costs: list[NDArray[Any]], kernels: list[NDArray[Any]]
) -> None:
    """How much slower than the best variant the chosen one is, on kernels that are held out."""
    train = [i for i in range(len(rows)) if i % _HELD_OUT]
    test = [i for i in range(len(rows)) if i % _HELD_OUT == 0]
    booster = train_ranker(
        np.concatenate([rows[i] for i in train]),
        np.concatenate([costs[i] for i in train]),
        np.concatenate([kernels[i] for i in train]),
    )
    chosen = [
        costs[i][int(np.argmax(booster.inplace_predict(rows[i])))] / min(costs[i]) for i in test
    ]
    first = [costs[i][0] / min(costs[i]) for i in test]
    print(
        f"on {len(test)} held-out kernels, times the best variant's cost: the ranker's choice "
        f"{statistics.median(chosen):.2f} (mean {statistics.mean(chosen):.2f}), the first variant "
        f"{statistics.median(first):.2f} (mean {statistics.mean(first):.2f})"
    )


def _narrowed(layer: Layer, generator: random.Random, friendly: bool) -> Layer:
    """The layer with fewer channels; images keep their few channels.

    Args:
        layer: a layer.
        generator: chooses how many.
        friendly: whether the widths are of the kind that planning prefers, or any.
    """

    def narrower(width: int) -> int:
        lowest = math.ceil(_NARROWEST * width)
        if width <= 3:
            return width
        return generator.choice(
            friendly_widths(lowest, width) if friendly else range(lowest, width + 1)
        )

    outputs = narrower(layer.outputs)
    return replace(
        layer, inputs=outputs if layer.depthwise else narrower(layer.inputs), outputs=outputs
    )


if __name__ == "__main__":
    main()
