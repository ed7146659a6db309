"""What a transferred schedule is worth: against tuning afresh at the same widths.

Three convolutions of the example network are tuned, then each is wanted at three random widths.
A transferred schedule and a fresh tune of as many trials as the original had compete there: the
time to get the schedule, and the speed of the kernel. Both kernels are measured in one run, in
turns.
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
from benchmarks.workloads import host_target
from tvm_prune.channels import find_channels, width_limits
from tvm_prune.compilation import Compilation
from tvm_prune.errors import PruneError
from tvm_prune.frontend import load
from tvm_prune.importance import Context, score_units
from tvm_prune.measure import LocalMeasurer
from tvm_prune.measurement import Artifact, Measurement, Measurer
from tvm_prune.tuning import Workload, open_database, transfer, tune, tuned_trace

_MODEL = Path(__file__).parent.parent / "examples" / "fashion_resnet8.onnx"
_KERNELS = (1, 5, 8)
"""Positions of 3x3 convolutions among the network's kernel calls, one in each stage."""
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
    network = _network(target)
    measurer = LocalMeasurer(target)
    generator = random.Random(_SEED)
    rows = []
    try:
        for position in _KERNELS:
            dense = network.kernel_calls(network.dense)[position].workload
            trace, seconds = _tuned(dense, target, measurer, trials)
            print(f"{_channels(dense)}: tuned in {seconds:.0f} s", flush=True)
            for _ in range(_WIDTHS_PER_KERNEL):
                widths = tuple(_narrower(generator, width) for width in network.dense)
                workload = network.kernel_calls(widths)[position].workload
                row: dict[str, Any] = {"tuned": _channels(dense), "widths": _channels(workload)}
                try:
                    row |= _compare(trace, workload, target, measurer, trials)
                except PruneError as error:
                    row |= {"failure": str(error)}
                rows.append(row)
    finally:
        measurer.close()
    write_results("transfer", _figures(rows), rows)
    _print(rows)


def _network(target: Any) -> Compilation:
    """The example network, to be lowered at any widths."""
    model = load(_MODEL)
    channels = find_channels(model.module)
    scores = score_units(Context(channels, model.parameters), "l2")
    return Compilation(model, channels, scores, width_limits(channels), target)


def _channels(workload: Workload) -> list[int]:
    """Input and output channels of a convolution, read off its weight."""
    _, (outputs, inputs, *_) = workload.arguments[1]
    return [inputs, outputs]


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
    trace: Any, workload: Workload, target: Any, measurer: Measurer, trials: int
) -> dict[str, Any]:
    """Transferred against freshly tuned for one pruned kernel."""
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
