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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from scripts.seed_costs import schedule_costs
from scripts.seed_layers import LAYERS, SMALL_LAYERS, Layer, workload_of_layer
from scripts.seed_ranker import seed_ranker
from tvm_prune.board import Board
from tvm_prune.board_choice import chosen_board
from tvm_prune.mcu.unpack import unpacked
from tvm_prune.session import Session, open_session
from tvm_prune.tuning import (
    TraceLibrary,
    TunedTrace,
    Workload,
    default_schedule,
    structure_of,
    tune,
)
from tvm_prune.tuning.library import PROCESSORS, SEEDS, processor_of, read_library, write_library
from tvm_prune.tuning.traces import search_trace_to_json
from tvm_prune.tuning.transfer import transfer
from tvm_prune.units import EXACT

GENERIC_CPU = {"x86-avx2": "haswell"}
"""LLVM's CPU to compile for where the board's own would be of a more capable class."""

_KEPT = 2
_CANDIDATES = 24
"""Of the tuned schedules of a kernel, the fastest of which is looked for in turns."""
_MOST_MACS = 30e6
"""Of a layer that an emulated board runs within seconds."""


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
        booster = stays.booster if stays else seed_ranker(session, seeds, layers)
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
    """Finds seed traces.

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
            schedules = [schedule for _, schedule in found]
            costs = schedule_costs(self.session, workload, schedules)
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


if __name__ == "__main__":
    main()
