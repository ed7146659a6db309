"""What a transferred schedule is worth: against tuning afresh at the same widths.

Three convolutions are tuned, then each is wanted at three random other widths. A transferred
schedule and a fresh tune of as many trials as the original had compete there: the time to get the
schedule, and the speed of the kernel. Both kernels are measured in one run, in turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results_file import write_results
from benchmarks.workloads import conv_workload, host_target
from tvm_prune.errors import PruneError
from tvm_prune.measure import LocalMeasurer
from tvm_prune.measurement import Artifact, Measurement, Measurer
from tvm_prune.tuning import Workload, open_database, transfer, tune, tuned_trace

_KERNELS = ((32, 32, 28), (64, 64, 14), (96, 96, 7))
"""Input channels, output channels, image size."""
_WIDTHS_PER_KERNEL = 3
_NARROWEST = 0.25
_SEED = 0
_TURNS = 5


def main() -> None:
    """Tune, transfer, compare; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    trials = parser.parse_args().trials
    target = host_target()
    measurer = LocalMeasurer(target)
    generator = random.Random(_SEED)
    rows = []
    try:
        for inputs, outputs, size in _KERNELS:
            trace, seconds = _tuned(
                conv_workload(target, inputs, outputs, size), target, measurer, trials
            )
            print(f"{inputs} to {outputs} at {size}x{size}: tuned in {seconds:.0f} s", flush=True)
            for _ in range(_WIDTHS_PER_KERNEL):
                widths = (_narrower(generator, inputs), _narrower(generator, outputs))
                row = {"tuned": [inputs, outputs], "widths": widths, "size": size}
                try:
                    row |= _compare(trace, widths, size, target, measurer, trials)
                except PruneError as error:
                    row |= {"failure": str(error)}
                rows.append(row)
    finally:
        measurer.close()
    write_results("transfer", _figures(rows), rows)
    _print(rows)


def _tuned(workload: Workload, target: Any, measurer: Measurer, trials: int) -> tuple[Any, float]:
    """Trace of a fresh tune, and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        database = open_database(Path(folder))
        tune({workload: 1.0}, target, measurer, database, trials_per_kernel=trials, seed=_SEED)
        return tuned_trace(database, workload, target), time.perf_counter() - start


def _narrower(generator: random.Random, width: int) -> int:
    """A random width up to `width`; any integer, not only round ones."""
    return generator.randint(int(_NARROWEST * width), width)


def _compare(
    trace: Any, widths: tuple[int, int], size: int, target: Any, measurer: Measurer, trials: int
) -> dict[str, Any]:
    """Transferred against freshly tuned at one choice of widths."""
    inputs, outputs = widths
    workload = conv_workload(target, inputs, outputs, size)
    start = time.perf_counter()
    transferred = transfer(trace, workload, target)
    transfer_seconds = time.perf_counter() - start
    fresh, tune_seconds = _tuned(workload, target, measurer, trials)
    schedules = [transferred, transfer(fresh, workload, target)]
    built = measurer.build([schedule.mod for schedule in schedules])
    artifacts = [artifact for artifact in built if isinstance(artifact, Artifact)]
    samples: list[list[float]] = [[], []]
    for _ in range(_TURNS):
        for taken, measured in zip(samples, measurer.run(artifacts), strict=True):
            assert isinstance(measured, Measurement), measured
            taken.extend(measured.samples)
    transferred_latency, fresh_latency = map(statistics.median, samples)
    return {
        "transfer_seconds": transfer_seconds,
        "tune_seconds": tune_seconds,
        "transferred_latency": transferred_latency,
        "fresh_latency": fresh_latency,
        "transferred_samples": samples[0],
        "fresh_samples": samples[1],
        "speed_ratio": fresh_latency / transferred_latency,
        "time_ratio": transfer_seconds / tune_seconds,
    }


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over all widths; a speed ratio of 1 is as fast as tuned afresh."""
    compared = [row for row in rows if "failure" not in row]
    if not compared:
        return {"failed": float(len(rows))}
    return {
        "speed_ratio_median": statistics.median(row["speed_ratio"] for row in compared),
        "speed_ratio_worst": min(row["speed_ratio"] for row in compared),
        "time_ratio_median": statistics.median(row["time_ratio"] for row in compared),
        "failed": float(len(rows) - len(compared)),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="schedules at other widths")
    headings = ("tuned", "widths", "transfer s", "tune s", "transferred us", "tuned us", "speed")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        tuned, widths = (" to ".join(map(str, row[name])) for name in ("tuned", "widths"))
        if "failure" in row:
            table.add_row(tuned, widths, row["failure"])
            continue
        table.add_row(
            tuned,
            widths,
            f"{row['transfer_seconds']:.3f}",
            f"{row['tune_seconds']:.1f}",
            f"{row['transferred_latency'] * 1e6:.0f}",
            f"{row['fresh_latency'] * 1e6:.0f}",
            f"{row['speed_ratio']:.2f}",
        )
    Console().print(table)
    for name, figure in _figures(rows).items():
        print(f"{name}: {figure:.4g}")


if __name__ == "__main__":
    main()
