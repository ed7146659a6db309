"""Boards over RPC: the main job on an emulated one, faults, two boards at once, many sessions.

- The example network is pruned to half of its instructions from an empty cache, and deployed.
- While two boards measure kernels whose exact cost is known, something is killed or stopped at a
  random moment. What is lost then is measured again when everything is mended, as a user would do
  who runs the same command again; a measurement that is never made counts as lost, and a cost that
  differs from the known one as wrong.
- Kernels that are built already are measured by one board and by two, in turns.
- Sessions of one kernel each follow one another.

Costs are instructions, which nothing disturbs; what is in seconds here is how long our work takes.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tvm import script

from benchmarks.emulated_farm import Farm
from benchmarks.results_file import write_results
from tvm_prune.board import load_board
from tvm_prune.errors import PruneError
from tvm_prune.export import read_bundle
from tvm_prune.frontend import load
from tvm_prune.installation import install
from tvm_prune.measure import Repeats, RpcMeasurer, rpc_jobs
from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measurement import Artifact, Measurement
from tvm_prune.settings import Settings
from tvm_prune.workflow import prune

_EXAMPLES = Path(__file__).parent.parent / "examples"
_BOARD = "aarch64-qemu"
_RUN_TIMEOUT = 10.0
_BATCH = 8
"""Kernels that are measured while one fault happens."""

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
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="of one board and two, in turns")
    parser.add_argument("--trials", type=int, default=Settings().trials, help="a dense kernel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the results to another file")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.trials:
            rows.append(_main_job(folder, options.trials))
        rows += _scaling(folder, options.rounds)
        rows += _sessions(folder, options.sessions)
        rows += _faults(folder, options.faults, options.seed)
    figures = _figures(rows)
    write_results("rpc", figures, rows, options.output)
    _print(figures)


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


def _main_job(folder: Path, trials: int) -> Row:
    """Prune and deploy the example network."""
    steps, start = _Steps(), time.perf_counter()
    with np.load(_EXAMPLES / "fashion_calibration.npz") as file:
        data = dict(file)
    result = prune(
        load(str(_EXAMPLES / "fashion_resnet8.onnx")),
        _BOARD,
        latency="0.5x",
        calibration=data,
        settings=replace(Settings(), cache=folder / "cache", trials=trials),
        progress=steps,
    )
    result.save(folder / "out")
    pruned = time.perf_counter() - start
    few = {name: array[:16] for name, array in data.items()}
    deployed = install(read_bundle(folder / "out"), _BOARD, few)
    return {
        "experiment": "main job",
        "unit": result.latency.unit,
        "dense": result.dense_latency.median,
        "pruned": result.latency.median,
        "deployed": deployed.latency.median,
        "max_relative_error": deployed.max_relative_error,
        "seconds": pruned,
        "tuning_seconds": steps.seconds["tuning the dense kernels"],
        "trials": result.tuning.trials,
        "failed_trials": sum(failure.count for failure in result.tuning.failures),
    }


def _scaling(folder: Path, rounds: int) -> list[Row]:
    """Kernels per second with one board and with two, in turns."""
    board, rows = load_board(_BOARD), []
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
        for number in range(rounds):
            for count, (measurer, kernel) in sides.items():
                start = time.perf_counter()
                done = measurer.run([kernel] * 2 * _BATCH)
                seconds = time.perf_counter() - start
                measured = sum(isinstance(each, Measurement) for each in done)
                rows.append(
                    {
                        "experiment": "boards at once",
                        "boards": count,
                        "round": number,
                        "kernels_per_second": measured / seconds,
                    }
                )
    return rows


def _sessions(folder: Path, count: int) -> list[Row]:
    """Sessions of one kernel each."""
    farm = Farm(load_board(_BOARD), 1, 19320, folder)
    measurer = farm.measurer()
    workers = WorkerPool(1, timeout=120.0, imports=("tvm_prune.measure.rpc_jobs",))
    rows: list[Row] = []
    try:
        kernel, cost = _kernel(measurer, steps=100)
        workers.start(1)
        repeats, causes, taken = Repeats(exact=True), [], []
        for _ in range(count):
            server = farm.tracker.request(60.0)
            start = time.perf_counter()
            job = (server, 60.0, [(str(kernel.path), kernel.arguments)], repeats, measurer.unit)
            [result] = workers.map(rpc_jobs.run_kernels, [job]) if server else [Failed("no server")]
            taken.append(time.perf_counter() - start)
            cause = result if isinstance(result, Failed) else result.result[0]
            if isinstance(cause, Failed):
                causes.append(cause.cause)
            elif round(cause[0] * 1e9) != cost:
                causes.append(f"{cause[0] * 1e9} instructions instead of {cost}")
        rows.append(
            {
                "experiment": "sessions",
                "sessions": count,
                "failures": causes,
                "median_seconds": statistics.median(taken) if taken else None,
            }
        )
    finally:
        workers.close()
        measurer.close()
        farm.close()
    return rows


def _faults(folder: Path, count: int, seed: int) -> list[Row]:
    """One fault after another, each at a random moment of the measuring of some kernels."""
    if not count:
        return []
    generator = random.Random(seed)
    farm = Farm(load_board(_BOARD), 2, 19330, folder)
    measurer = farm.measurer(_RUN_TIMEOUT)
    try:
        kernel, cost = _kernel(measurer)
        start = time.perf_counter()
        measurer.run([kernel] * _BATCH)
        usual = time.perf_counter() - start
        rows = []
        for number in range(count):
            kind = generator.choice(list(farm.faults))
            moment, victim = generator.uniform(0, usual), generator.randrange(2)
            rows.append(_fault(farm, measurer, kernel, cost, kind, moment, victim))
            print(f"fault {number + 1} of {count}: {rows[-1]}", flush=True)
        return rows
    finally:
        measurer.close()
        farm.close()


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
        "experiment": "faults",
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


def _figures(rows: Sequence[Row]) -> dict[str, float]:
    by = {name: [row for row in rows if row["experiment"] == name] for name in _EXPERIMENTS}
    figures: dict[str, float] = {"boards_used": 2}
    for row in by["main job"]:
        figures["dense_instructions"] = row["dense"]
        figures["pruned_instructions"] = row["pruned"]
        figures["ratio"] = row["pruned"] / row["dense"]
        figures["main_job_seconds"] = row["seconds"]
        figures["seconds_per_trial"] = row["tuning_seconds"] / max(row["trials"], 1)
    rates = {
        count: [r["kernels_per_second"] for r in by["boards at once"] if r["boards"] == count]
        for count in (1, 2)
    }
    if rates[1]:
        one, two = (statistics.median(rates[count]) for count in (1, 2))
        figures |= {
            "kernels_per_second_one_board": one,
            "kernels_per_second_two_boards": two,
            "scaling_two_boards": two / one,
        }
    for row in by["sessions"]:
        figures["sessions"] = row["sessions"]
        figures["session_failures"] = len(row["failures"])
        figures["session_seconds"] = row["median_seconds"]
    figures["faults_injected"] = len(by["faults"])
    figures["lost_measurements"] = sum(row["lost"] for row in by["faults"])
    figures["wrong_results"] = sum(row["wrong"] for row in by["faults"])
    if by["faults"]:
        figures["longest_fault_seconds"] = max(row["seconds"] for row in by["faults"])
    return figures


_EXPERIMENTS = ("main job", "boards at once", "sessions", "faults")


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
