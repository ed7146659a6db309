"""Boards over RPC: the main job on an emulated one, faults, two boards at once, many sessions.

- The example network is pruned to half of its instructions from an empty cache, and deployed.
- While two boards measure kernels whose exact cost is known, something is killed or stopped at a
  random moment. What is lost then is measured again when everything is mended, as a user would do
  who runs the same command again; a measurement that is never made counts as lost, and a cost that
  differs from the known one as wrong.
- Kernels that are built already are measured by one board and by two, in turns.
- Sessions of one kernel each follow one another.

Costs are instructions, which nothing disturbs; what is in seconds here is how long our work takes.

Parts may be run one by one (``--only``): rows of the others stay as they were, and each part has a
row that tells when and under which circumstances it was run. ``--resume`` goes on with sessions and
faults that were interrupted: their rows are written as they are made.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tvm import script

from benchmarks.emulated_farm import Farm
from benchmarks.results_file import circumstances, stored_rows, write_results
from tvm_prune.board import load_board
from tvm_prune.errors import PruneError
from tvm_prune.export import read_bundle
from tvm_prune.frontend import load
from tvm_prune.installation import install
from tvm_prune.measure import Repeats, RpcMeasurer, rpc_jobs
from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measure.served_boards import terms_of
from tvm_prune.measurement import Artifact, Measurement
from tvm_prune.settings import Settings
from tvm_prune.workflow import prune

_EXAMPLES = Path(__file__).parent.parent / "examples"
_BOARD = "aarch64-qemu"
_RUN_TIMEOUT = 10.0
_BATCH = 8
"""Kernels that are measured while one fault happens."""

_ROUND = 16
"""Kernels that are measured at once, as many as a round of tuning or sampling has."""

_FEW = 100
"""Sessions of a row."""

_KERNEL = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(result: T.Buffer((64,), "float32")):
        with T.sblock("root"):
            for i, j in T.grid(64, {steps}):
                result[i] = result[i] * T.float32(0.5) + T.float32(1)
"""
_STEPS = 100_000

Row = dict[str, Any]


def main() -> None:
    """Run everything, print the figures and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(_PARTS), default=list(_PARTS))
    parser.add_argument("--resume", action="store_true", help="keep what the parts have done")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="of one board and two, in turns")
    parser.add_argument("--trials", type=int, default=Settings().trials, help="a dense kernel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the results to another file")
    options = parser.parse_args()
    results = Results(options.output)
    for name in options.only:
        if not options.resume:
            results.forget(name)
        with tempfile.TemporaryDirectory() as folder:
            results.begin(name)
            _PARTS[name](results, Path(folder), options)
    _print(figures_of(results.rows))


class Results:
    """All rows, on disk as soon as they are made."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: list[Row] = stored_rows("rpc", path)

    def of(self, experiment: str) -> list[Row]:
        """Rows of one part."""
        return [row for row in self.rows if row["experiment"] == experiment]

    def forget(self, experiment: str) -> None:
        """Drop the rows of a part that is run again."""
        self.rows = [
            row for row in self.rows if experiment not in (row["experiment"], row.get("of"))
        ]

    def begin(self, experiment: str) -> None:
        """A row that tells under which circumstances a part is run from now on."""
        self.rows.append({"experiment": "run", "of": experiment, **circumstances()})

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(row)
        write_results("rpc", figures_of(self.rows), self.rows, self._path)


@dataclass
class _Steps:
    """A progress that takes the time of each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[_Steps]:
        """Take the time until the step ends."""
        start = time.perf_counter()
        yield self
        passed = time.perf_counter() - start
        self.seconds[title] = self.seconds.get(title, 0.0) + passed

    def update(self, done: int, detail: str = "", total: int | None = None) -> None:
        """Nothing is shown."""

    def say(self, text: str) -> None:
        """Print one fact."""
        print(text, flush=True)


def _main_job(results: Results, folder: Path, options: argparse.Namespace) -> None:
    """Prune and deploy the example network."""
    steps, start = _Steps(), time.perf_counter()
    with np.load(_EXAMPLES / "fashion_calibration.npz") as file:
        data = dict(file)
    result = prune(
        load(str(_EXAMPLES / "fashion_resnet8.onnx")),
        _BOARD,
        latency="0.5x",
        calibration=data,
        settings=replace(Settings(), cache=folder / "cache", trials=options.trials),
        progress=steps,
    )
    result.save(folder / "out")
    pruned = time.perf_counter() - start
    few = {name: array[:16] for name, array in data.items()}
    deployed = install(read_bundle(folder / "out"), _BOARD, few)
    row = {
        "experiment": MAIN_JOB,
        "unit": result.latency.unit,
        "trials_per_kernel": options.trials,
        "dense": result.dense_latency.median,
        "pruned": result.latency.median,
        "deployed": deployed.latency.median,
        "max_relative_error": deployed.max_relative_error,
        "seconds": pruned,
        "seconds_of_each_step": steps.seconds,
        "tuning_seconds": steps.seconds["tuning the dense kernels"],
        "trials": result.tuning.trials,
        "failed_trials": sum(failure.count for failure in result.tuning.failures),
    }
    results.add(row)


def _scaling(results: Results, folder: Path, options: argparse.Namespace) -> None:
    """Kernels per second with one board and with two, in turns."""
    board = load_board(_BOARD)
    with contextlib.ExitStack() as stack:
        sides = {}
        for count in (1, 2):
            farm = Farm(board, count, 19290 + 10 * count, folder)
            stack.callback(farm.close)
            measurer = farm.measurer()
            stack.callback(measurer.close)
            kernel, _ = _kernel(measurer)
            measurer.run([kernel] * 2 * count)
            sides[count] = (measurer, kernel)
        for number in range(options.rounds):
            for count, (measurer, kernel) in sides.items():
                start = time.perf_counter()
                done = measurer.run([kernel] * _ROUND)
                seconds = time.perf_counter() - start
                measured = sum(isinstance(each, Measurement) for each in done)
                row = {"boards": count, "round": number, "kernels": len(done)}
                rate = measured / seconds
                results.add({"experiment": SCALING, **row, "kernels_per_second": rate})


def _sessions(results: Results, folder: Path, options: argparse.Namespace) -> None:
    """Sessions of one kernel each."""
    farm = Farm(load_board(_BOARD), 1, 19320, folder)
    measurer = farm.measurer()
    workers = WorkerPool(1, timeout=120.0, imports=("tvm_prune.measure.rpc_jobs",))
    try:
        kernel, cost = _kernel(measurer, steps=100)
        workers.start(1)
        left = options.sessions - sum(row["sessions"] for row in results.of(SESSIONS))
        while left > 0:
            count = min(left, _FEW)
            results.add(_some_sessions(farm, workers, kernel, cost, count))
            left -= count
    finally:
        workers.close()
        measurer.close()
        farm.close()


def _some_sessions(
    farm: Farm, workers: WorkerPool, kernel: Artifact, cost: float, count: int
) -> Row:
    terms, repeats = terms_of(load_board(_BOARD)), Repeats(exact=True)
    causes, taken = [], []
    for _ in range(count):
        server = farm.tracker.request(60.0)
        start = time.perf_counter()
        job = (server, 60.0, [(str(kernel.path), kernel.arguments)], repeats, terms)
        [result] = workers.map(rpc_jobs.run_kernels, [job]) if server else [Failed("no server")]
        taken.append(time.perf_counter() - start)
        cause = result if isinstance(result, Failed) else result.result[0]
        if isinstance(cause, Failed):
            causes.append(cause.cause)
        elif round(cause[0] * 1e9) != cost:
            causes.append(f"{cause[0] * 1e9} instructions instead of {cost}")
    seconds = statistics.median(taken)
    return {"experiment": SESSIONS, "sessions": count, "failures": causes, "seconds": seconds}


def _faults(results: Results, folder: Path, options: argparse.Namespace) -> None:
    """One fault after another, each at a random moment of the measuring of some kernels."""
    farm = Farm(load_board(_BOARD), 2, 19330, folder)
    measurer = farm.measurer(_RUN_TIMEOUT)
    try:
        kernel, cost = _kernel(measurer)
        start = time.perf_counter()
        measurer.run([kernel] * _BATCH)
        shortest = time.perf_counter() - start
        while (done := len(_amid(results.of(FAULTS)))) < options.faults:
            generator = random.Random(f"{options.seed} {len(results.of(FAULTS))}")
            kind = generator.choice(list(farm.faults))
            moment, victim = generator.uniform(0, shortest), generator.randrange(2)
            row = _fault(farm, measurer, kernel, cost, kind, moment, victim)
            shortest = min(shortest, row["seconds"])
            results.add(row)
            print(f"{done} of {options.faults} faults; now {row}", flush=True)
    finally:
        measurer.close()
        farm.close()


def _amid(faults: Sequence[Row]) -> list[Row]:
    """Those that happened while something was measured; the others came too late."""
    return [row for row in faults if row["moment"] < row["seconds"]]


def _fault(
    farm: Farm,
    measurer: RpcMeasurer,
    kernel: Artifact,
    cost: float,
    kind: str,
    moment: float,
    victim: int,
) -> Row:
    """Measure kernels while one fault happens, and again what could not be measured then."""
    timer = threading.Timer(moment, farm.faults[kind], [victim])
    start = time.perf_counter()
    timer.start()
    measured = _costs(measurer, kernel, _BATCH)
    seconds = time.perf_counter() - start
    timer.join()
    farm.mend()
    again = _costs(measurer, kernel, _BATCH - len(measured))
    every = [*measured, *again]
    return {
        "experiment": FAULTS,
        "kind": kind,
        "moment": moment,
        "seconds": seconds,
        "measured_at_once": len(measured),
        "lost": _BATCH - len(every),
        "wrong": sum(each != cost for each in every),
    }


def _costs(measurer: RpcMeasurer, kernel: Artifact, count: int) -> list[float]:
    outcomes = measurer.run([kernel] * count)
    return [each.median for each in outcomes if isinstance(each, Measurement)]


def _kernel(measurer: RpcMeasurer, steps: int = _STEPS) -> tuple[Artifact, float]:
    """A kernel and its exact cost."""
    [built] = measurer.build([script.from_source(_KERNEL.format(steps=steps))])
    if isinstance(built, Artifact):
        [measured] = measurer.run([built])
        if isinstance(measured, Measurement):
            return built, measured.median
    raise PruneError(f"the kernel does not run: {built}")


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    by = {name: [row for row in rows if row["experiment"] == name] for name in _PARTS}
    figures: dict[str, float] = {"boards_used": 2}
    for row in by[MAIN_JOB]:
        figures["dense_instructions"] = row["dense"]
        figures["pruned_instructions"] = row["pruned"]
        figures["ratio"] = row["pruned"] / row["dense"]
        figures["main_job_seconds"] = row["seconds"]
        figures["seconds_per_trial"] = row["tuning_seconds"] / max(row["trials"], 1)
    rates = {
        count: [r["kernels_per_second"] for r in by[SCALING] if r["boards"] == count]
        for count in (1, 2)
    }
    if rates[1] and rates[2]:
        one, two = (statistics.median(rates[count]) for count in (1, 2))
        figures |= {
            "kernels_per_second_one_board": one,
            "kernels_per_second_two_boards": two,
            "scaling_two_boards": two / one,
        }
    if by[SESSIONS]:
        figures["sessions"] = sum(row["sessions"] for row in by[SESSIONS])
        figures["session_failures"] = sum(len(row["failures"]) for row in by[SESSIONS])
        figures["session_seconds"] = statistics.median(row["seconds"] for row in by[SESSIONS])
    if by[FAULTS]:
        figures["faults_injected"] = len(_amid(by[FAULTS]))
        figures["lost_measurements"] = sum(row["lost"] for row in by[FAULTS])
        figures["wrong_results"] = sum(row["wrong"] for row in by[FAULTS])
        figures["longest_fault_seconds"] = max(row["seconds"] for row in by[FAULTS])
    return figures


MAIN_JOB, SCALING, SESSIONS, FAULTS = "main job", "boards at once", "sessions", "faults"

_PARTS: Mapping[str, Callable[[Results, Path, argparse.Namespace], None]] = {
    MAIN_JOB: _main_job,
    SCALING: _scaling,
    SESSIONS: _sessions,
    FAULTS: _faults,
}


def _print(figures: dict[str, float]) -> None:
    table = Table(title=f"Boards over RPC: {_BOARD}")
    table.add_column("")
    table.add_column("", justify="right")
    for name, figure in figures.items():
        table.add_row(
            name.replace("_", " "), f"{figure:,.4g}" if figure < 1e4 else f"{figure:,.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
