"""How many trials a second: our builder and runner against MetaSchedule's own.

Three ways tune the same kernel with the same number of trials, each in a process of its own:

- ``stock``: LocalBuilder, LocalRunner and search settings as MetaSchedule comes, except that a
  build may take 300 s instead of 30 s, without which every build times out on a slow machine;
- ``ours``: our builder and runner, MetaSchedule's search settings;
- ``ours, own search``: :func:`tvm_prune.tuning.tune` as it comes.

The throughput of a builder and runner is trials per second spent in them, their workers' start
and imports included; the search, which is the same for the first two, is counted in the whole
tuning only. Importing TVM into the parent process counts nowhere.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results_file import write_results
from benchmarks.workloads import conv_workload, host_target

_CHANNELS, _SIZE = 64, 28
_STOCK_TIMEOUT = 300.0


def main() -> None:
    """Run all sides, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--side", choices=_SIDES, help="run this side only and print it as JSON")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_SIDES[options.side](options.trials)))
        return
    rows = [_in_fresh_process(side, options.trials) for side in _SIDES]
    write_results("tuning", _figures(rows), rows)
    _print(rows)


def _in_fresh_process(side: str, trials: int) -> dict[str, Any]:
    """One side's row; what one side imports must not help the other."""
    command = [sys.executable, "-m", "benchmarks.tuning", "--side", side, "--trials", str(trials)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        return {"side": side, "trials": trials, "failure": finished.stderr[-2000:]}
    row: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return {"side": side, "trials": trials, **row}


def _stock(trials: int) -> dict[str, float]:
    from tvm.s_tir.meta_schedule.builder import LocalBuilder
    from tvm.s_tir.meta_schedule.runner import LocalRunner

    builder = LocalBuilder(max_workers=os.cpu_count(), timeout_sec=_STOCK_TIMEOUT)
    return _tune_tasks(builder, LocalRunner(timeout_sec=_STOCK_TIMEOUT), trials)


def _ours(trials: int) -> dict[str, float]:
    from tvm_prune.measure import LocalMeasurer
    from tvm_prune.tuning.context import provide_cpu_intrinsics
    from tvm_prune.tuning.metaschedule import MeasurerBuilder, MeasurerRunner

    provide_cpu_intrinsics()
    measurer = LocalMeasurer(host_target())
    try:
        return _tune_tasks(MeasurerBuilder(measurer), MeasurerRunner(measurer), trials)
    finally:
        measurer.close()


def _ours_own_search(trials: int) -> dict[str, float]:
    from tvm_prune.measure import LocalMeasurer
    from tvm_prune.tuning import open_database, tune

    target = host_target()
    workload = conv_workload(target, _CHANNELS, _CHANNELS, _SIZE)
    measurer = LocalMeasurer(target)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        database = open_database(Path(folder))
        report = tune({workload: 1.0}, target, measurer, database, trials_per_kernel=trials)
        seconds = time.perf_counter() - start
    measurer.close()
    [kernel] = report.kernels
    return _row(
        seconds, report.seconds.build, report.seconds.run, kernel.trials, kernel.failed, kernel.best
    )


def _tune_tasks(builder: Any, runner: Any, trials: int) -> dict[str, float]:
    """MetaSchedule's own entry point with its own defaults."""
    from tvm.s_tir import meta_schedule as ms

    target = host_target()
    context = ms.TuneContext(
        conv_workload(target, _CHANNELS, _CHANNELS, _SIZE).mod,
        target=target,
        space_generator="post-order-apply",
        search_strategy="evolutionary",
        task_name="main",
        rand_state=1,
    )
    clock: dict[str, float] = {"build": 0.0, "run": 0.0}
    timed = _timed_builder(builder, clock), _timed_runner(runner, clock)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        database = ms.tune_tasks(
            tasks=[context],
            task_weights=[1.0],
            work_dir=folder,
            max_trials_global=trials,
            builder=timed[0],
            runner=timed[1],
        )
        seconds = time.perf_counter() - start
        costs = [float(r.run_secs[0]) for r in database.get_all_tuning_records()]
    failed = sum(cost >= 1e9 for cost in costs)
    return _row(seconds, clock["build"], clock["run"], len(costs), failed, min(costs))


def _timed_builder(inner: Any, clock: dict[str, float]) -> Any:
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.builder import PyBuilder

    @derived_object
    class Timed(PyBuilder):  # type: ignore[misc]
        def build(self, build_inputs: Any) -> Any:
            return _timed(lambda: list(inner.build(build_inputs)), clock, "build")

    return Timed()


def _timed_runner(inner: Any, clock: dict[str, float]) -> Any:
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.runner import PyRunner

    @derived_object
    class Timed(PyRunner):  # type: ignore[misc]
        def run(self, runner_inputs: Any) -> Any:
            return _timed(lambda: list(inner.run(runner_inputs)), clock, "run")

    return Timed()


def _timed(work: Callable[[], Any], clock: dict[str, float], name: str) -> Any:
    start = time.perf_counter()
    try:
        return work()
    finally:
        clock[name] += time.perf_counter() - start


def _row(
    seconds: float, build: float, run: float, trials: int, failed: int, best: float | None
) -> dict[str, float]:
    return {
        "seconds": seconds,
        "build_seconds": build,
        "run_seconds": run,
        "search_seconds": seconds - build - run,
        "measured": trials,
        "failed": failed,
        "best_seconds": best or float("nan"),
        "throughput": trials / (build + run),
        "tuning_throughput": trials / seconds,
    }


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The summary; throughputs are in trials per second."""
    by_side = {row["side"]: row for row in rows if "failure" not in row}
    if len(by_side) < len(_SIDES):
        return {"failed_sides": float(len(_SIDES) - len(by_side))}
    stock, ours, own = (by_side[side] for side in _SIDES)
    return {
        "throughput_stock": stock["throughput"],
        "throughput_ours": ours["throughput"],
        "throughput_ratio": ours["throughput"] / stock["throughput"],
        "tuning_throughput_stock": stock["tuning_throughput"],
        "tuning_throughput_ours": own["tuning_throughput"],
        "tuning_throughput_ratio": own["tuning_throughput"] / stock["tuning_throughput"],
        "tuning_throughput_ratio_same_search": ours["tuning_throughput"]
        / stock["tuning_throughput"],
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"{_CHANNELS}x{_CHANNELS} 3x3 convolution at {_SIZE}x{_SIZE}")
    for heading in ("", "trials/s", "build s", "run s", "search s", "total s", "failed", "best us"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        if "failure" in row:
            table.add_row(row["side"], row["failure"].strip().splitlines()[-1])
            continue
        times = ("build_seconds", "run_seconds", "search_seconds", "seconds")
        table.add_row(
            row["side"],
            f"{row['throughput']:.2f}",
            *(f"{row[name]:.1f}" for name in times),
            str(row["failed"]),
            f"{row['best_seconds'] * 1e6:.0f}",
        )
    Console().print(table)
    for name, figure in _figures(rows).items():
        print(f"{name}: {figure:.2f}")


_SIDES: dict[str, Callable[[int], dict[str, float]]] = {
    "stock": _stock,
    "ours": _ours,
    "ours, own search": _ours_own_search,
}


if __name__ == "__main__":
    main()
