"""How much a second worker or a second board is worth.

Kernels, each a convolution of its own, are built and measured by 1 and by 2 of:

- ``pool``: build processes of this machine;
- ``dask``: workers of a Dask cluster on this machine, each with one thread;
- ``rpc``: TVM RPC servers on this machine under one tracker key, which measure kernels.

Everything has started and has done one job before its time is taken. The sides take turns; a
figure is the median over the rounds, its spread the interquartile range over the median. Servers
and build workers here share the machine's processors, as boards and build machines would not: with
two of them on two processors, and with kernels that use one thread, the gain is that of the
scheduling alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm.target import Target

from benchmarks.results_file import write_results
from benchmarks.workloads import conv_workload, host_target
from tvm_prune.measure import LocalMeasurer, RpcMeasurer, open_executor
from tvm_prune.measure.tracker import Tracker
from tvm_prune.measurement import Artifact, BoardMeasurer, Measurement
from tvm_prune.tuning import default_schedule

_COUNTS = (1, 2)
_HOST = "127.0.0.1"
_KEY = "scale"
_START = (
    "import sys, runpy; sys.modules['torch'] = None; runpy.run_module({!r}, run_name='__main__')"
)
_PATIENCE = 300.0

Work = Callable[[], int]
"""Does a round's work and returns how many kernels succeeded."""


def main() -> None:
    """Run all sides in turns, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=int, default=32, help="kernels a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the results to another file")
    options = parser.parse_args()
    target = Target({**json.loads(str(host_target())), "num-cores": 1})
    modules = _kernels(target, options.kernels)
    with contextlib.ExitStack() as stack:
        sides = {
            **{
                f"build_{name}_{count}": _building(stack, measurer, modules)
                for name, count, measurer in _builders(stack, target)
            },
            **{
                f"measure_rpc_{count}": _measuring(stack, measurer, modules)
                for count, measurer in _boards(stack, target)
            },
        }
        rows = [
            _timed(side, number, work) for number in range(options.rounds)
            for side, work in sides.items()
        ]  # fmt: skip
    write_results("scale", _figures(rows), rows, options.output)
    _print(rows)


def _kernels(target: Target, count: int) -> list[Any]:
    """Scheduled convolutions of different widths, so that no two builds are alike."""
    workloads = (
        conv_workload(target, 16 + 4 * (n % 8), 16 + 4 * (n // 8), 14) for n in range(count)
    )
    return [default_schedule(workload, target).mod for workload in workloads]


def _builders(
    stack: contextlib.ExitStack, target: Target
) -> Iterator[tuple[str, int, BoardMeasurer]]:
    """Measurers that build with each number of processes and of Dask workers."""
    from distributed import LocalCluster

    for count in _COUNTS:
        yield "pool", count, LocalMeasurer(target, builders=count)
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0"
            )
        )
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        yield (
            "dask",
            count,
            LocalMeasurer(target, executor=stack.enter_context(open_executor(address))),
        )


def _boards(stack: contextlib.ExitStack, target: Target) -> Iterator[tuple[int, BoardMeasurer]]:
    """Measurers that use each number of servers, which have a tracker of their own."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for position, count in enumerate(_COUNTS):
        port = 19190 + 20 * position
        _start(stack, folder, "tracker", port, [])
        tracker = Tracker(_HOST, port, _KEY)
        _await(tracker, 0)
        for number in range(1, count + 1):
            _start(
                stack, folder, "server", port + number, ["--tracker", tracker.name, "--key", _KEY]
            )
        _await(tracker, count)
        yield count, RpcMeasurer(target, tracker)


def _start(
    stack: contextlib.ExitStack, folder: Path, what: str, port: int, options: Sequence[str]
) -> None:
    """Start TVM's own tracker or server, which ends, with what it started, with the benchmark."""
    command = [sys.executable, "-c", _START.format(f"tvm.exec.rpc_{what}"), "--host", _HOST]
    command += ["--port", str(port), "--port-end", str(port + 1), *options]
    with (folder / f"{what}-{port}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _await(tracker: Tracker, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if len(tracker.servers()) == count:
                return
        time.sleep(0.2)
    raise TimeoutError(f"{count} servers did not register at {tracker.name}")


def _building(stack: contextlib.ExitStack, measurer: BoardMeasurer, modules: Sequence[Any]) -> Work:
    stack.callback(measurer.close)
    measurer.build(modules[: 2 * max(_COUNTS)])
    return lambda: sum(isinstance(each, Artifact) for each in measurer.build(modules))


def _measuring(
    stack: contextlib.ExitStack, measurer: BoardMeasurer, modules: Sequence[Any]
) -> Work:
    stack.callback(measurer.close)
    built = [each for each in measurer.build(modules) if isinstance(each, Artifact)]
    measurer.run(built[: max(_COUNTS)])
    return lambda: sum(isinstance(each, Measurement) for each in measurer.run(built))


def _timed(side: str, number: int, work: Work) -> dict[str, Any]:
    start = time.perf_counter()
    done = work()
    seconds = time.perf_counter() - start
    return {
        "side": side,
        "round": number,
        "kernels": done,
        "seconds": seconds,
        "kernels_per_second": done / seconds,
        "load_average": os.getloadavg()[0],
    }


def _rates(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Kernels per second of every round, by side."""
    rates: dict[str, list[float]] = {}
    for row in rows:
        rates.setdefault(row["side"], []).append(row["kernels_per_second"])
    return rates


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians and spreads, in kernels per second, and what the second one gains."""
    figures = {}
    for side, rates in _rates(rows).items():
        figures[f"{side}_kernels_per_second"] = statistics.median(rates)
        figures[f"{side}_spread"] = _spread(rates)
    for name in ("build_pool", "build_dask", "measure_rpc"):
        one, two = (figures[f"{name}_{count}_kernels_per_second"] for count in _COUNTS)
        figures[f"{name}_gain"] = two / one
    return figures


def _spread(rates: Sequence[float]) -> float:
    if len(rates) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
    return (high - low) / middle


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=f"Kernels per second on {os.cpu_count()} processors")
    for heading in ("", "workers or boards", "median", "spread"):
        table.add_column(heading, justify="right" if heading else "left")
    for side, rates in _rates(rows).items():
        name, _, count = side.rpartition("_")
        table.add_row(
            name.replace("_", ", "),
            count,
            f"{statistics.median(rates):.2f}",
            f"{_spread(rates):.0%}",
        )
    Console().print(table)
    for name, figure in _figures(rows).items():
        if name.endswith("_gain"):
            print(f"{name}: {figure:.2f}")


if __name__ == "__main__":
    main()
