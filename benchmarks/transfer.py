"""What a schedule without any tuning trial is worth: against tuning afresh at the same widths.

Kernels of ResNet-18 and MobileNetV2 are tuned at their dense widths; each is then wanted at pruned
widths: one choice as the product samples them (mostly multiples of 4 to 16), one of any integers.
Three schedules compete there, each measured in turns with the others:

- transferred: from the dense kernel's trace, as ``tvm-prune`` does it, with no trial;
- from seeds: from the seed traces that come with the package only, as if this machine had never
  tuned anything;
- fresh: a search of as many trials as the dense kernel got, from nothing.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results_file import write_results
from benchmarks.torchvision_zoo import exported
from benchmarks.workloads import host_target
from tvm_prune.channels import find_channels, width_limits
from tvm_prune.compilation import Compilation
from tvm_prune.errors import PruneError
from tvm_prune.frontend import load
from tvm_prune.importance import Context, score_units
from tvm_prune.latency import Widths, sample_widths
from tvm_prune.measure import LocalMeasurer
from tvm_prune.measurement import Artifact, Measurement, Measurer
from tvm_prune.tuning import (
    TraceLibrary,
    Workload,
    find_source,
    open_database,
    seed_library,
    transfer,
    tune,
    tuned_trace,
)

_KERNELS: Mapping[str, Sequence[int]] = {
    "resnet18": (2, 6, 8, 14, 17, 18),
    "mobilenet_v2": (4, 6, 8, 13, 20, 33),
}
"""Positions of kernels in each network's program: 3x3, strided, residual, 1x1 and depthwise."""

_NARROWEST = 0.25
_SEED = 1
_TURNS = 5
_SIDES = ("transferred", "seeds", "fresh")


@dataclass(frozen=True)
class _Bench:
    """What every comparison needs."""

    target: Any
    measurer: Measurer
    trials: int
    seeds: TraceLibrary


def main() -> None:
    """Tune, transfer, compare; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--models", type=Path, default=Path("models"), help="torchvision as ONNX")
    parser.add_argument("--kernels", type=int, default=6, help="of each network")
    parser.add_argument("--output", type=Path, help="write the results here instead")
    options = parser.parse_args()
    target = host_target()
    measurer = LocalMeasurer(target)
    rows: list[dict[str, Any]] = []
    try:
        bench = _Bench(target, measurer, options.trials, seed_library(target))
        for name, positions in _KERNELS.items():
            network = _network(exported(name, options.models), target)
            for position in positions[: options.kernels]:
                for row in _compare_kernel(bench, network, position):
                    rows.append({"network": name, "kernel": position, **row})
                    print(rows[-1]["widths"], _summary(rows[-1]), flush=True)
    finally:
        measurer.close()
    write_results("transfer", _figures(rows), rows, options.output)
    _print(rows)


def _network(path: Path, target: Any) -> Compilation:
    """A network, to be lowered at any widths."""
    model = load(path)
    channels = find_channels(model.module)
    scores = score_units(Context(channels, model.parameters), "l2")
    return Compilation(model, channels, scores, width_limits(channels), target)


def _compare_kernel(bench: _Bench, network: Compilation, position: int) -> Iterator[dict[str, Any]]:
    """Tune a dense kernel, and compare at each choice of pruned widths."""
    dense = network.kernel_calls(network.dense)[position].workload
    with tempfile.TemporaryDirectory() as folder:
        database, seconds = _tuned(bench, dense, Path(folder))
        print(f"{_channels(dense)}: tuned in {seconds:.0f} s", flush=True)
        for kind, widths in _pruned_widths(network, position):
            workload = network.kernel_calls(widths)[position].workload
            row = {"choice": kind, "tuned": _channels(dense), "widths": _channels(workload)}
            try:
                yield row | _compare(bench, dense, database, workload)
            except PruneError as error:
                yield row | {"failure": str(error)}


def _pruned_widths(network: Compilation, position: int) -> list[tuple[str, Widths]]:
    """One choice as the product samples them, and one of any integers."""
    generator = random.Random(_SEED + position)
    anything = tuple(
        generator.randint(max(1, int(_NARROWEST * width)), width) for width in network.dense
    )
    sampled = next(sample_widths(network.limits, _SEED + position))
    return [("sampled", sampled), ("any", anything)]


def _channels(workload: Workload) -> list[int]:
    """Input and output channels of a convolution, read off its data and its result."""
    return [workload.arguments[0][1][1], workload.arguments[-1][1][1]]


def _tuned(bench: _Bench, workload: Workload, folder: Path) -> tuple[Any, float]:
    """Database with a fresh tune, and the seconds that took."""
    start = time.perf_counter()
    database = open_database(folder)
    tune(
        {workload: 1.0}, bench.target, bench.measurer, database,
        trials_per_kernel=bench.trials, seed=_SEED,
    )  # fmt: skip
    return database, time.perf_counter() - start


def _compare(bench: _Bench, dense: Workload, database: Any, workload: Workload) -> dict[str, Any]:
    """Transferred, from seeds and freshly tuned, for one pruned kernel."""
    target = bench.target
    source = find_source(dense, target, [database], bench.seeds)
    start = time.perf_counter()
    transferred = source.schedule(workload, target)
    transfer_seconds = time.perf_counter() - start
    from_seeds = find_source(workload, target, [], bench.seeds).schedule(workload, target)
    with tempfile.TemporaryDirectory() as folder:
        fresh_database, tune_seconds = _tuned(bench, workload, Path(folder))
        fresh = transfer(tuned_trace(fresh_database, workload, target), workload, target)
    samples = _measured_in_turns(bench.measurer, [transferred, from_seeds, fresh])
    latency = {name: statistics.median(taken) for name, taken in zip(_SIDES, samples, strict=True)}
    return {
        "transfer_seconds": transfer_seconds,
        "tune_seconds": tune_seconds,
        "time_ratio": transfer_seconds / tune_seconds,
        **{f"{name}_latency": latency[name] for name in _SIDES},
        **{f"{name}_samples": taken for name, taken in zip(_SIDES, samples, strict=True)},
        "speed_ratio": latency["fresh"] / latency["transferred"],
        "seeds_speed_ratio": latency["fresh"] / latency["seeds"],
    }


def _measured_in_turns(measurer: Measurer, schedules: Sequence[Any]) -> list[list[float]]:
    built = measurer.build([schedule.mod for schedule in schedules])
    artifacts = [artifact for artifact in built if isinstance(artifact, Artifact)]
    assert len(artifacts) == len(schedules), built
    samples: list[list[float]] = [[] for _ in schedules]
    for _ in range(_TURNS):
        for taken, measured in zip(samples, measurer.run(artifacts), strict=True):
            assert isinstance(measured, Measurement), measured
            taken.extend(measured.samples)
    return samples


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over all widths; a speed ratio of 1 is as fast as tuned afresh."""
    compared = [row for row in rows if "failure" not in row]
    figures = {"pairs": float(len(compared)), "failed": float(len(rows) - len(compared))}
    if not compared:
        return figures
    for kind in ("sampled", "any"):
        ratios = [row["speed_ratio"] for row in compared if row["choice"] == kind]
        if ratios:
            figures[f"{kind}_speed_ratio_median"] = statistics.median(ratios)
    return {
        "speed_ratio_median": statistics.median(row["speed_ratio"] for row in compared),
        "speed_ratio_worst": min(row["speed_ratio"] for row in compared),
        "time_ratio_median": statistics.median(row["time_ratio"] for row in compared),
        "seeds_speed_ratio_median": statistics.median(r["seeds_speed_ratio"] for r in compared),
        **figures,
    }


def _summary(row: Mapping[str, Any]) -> str:
    if "failure" in row:
        return str(row["failure"])
    return f"speed {row['speed_ratio']:.2f}, from seeds {row['seeds_speed_ratio']:.2f}"


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title="schedules at other widths")
    headings = (
        "network", "tuned", "widths", "transfer s", "tune s", "transferred us", "seeds us",
        "fresh us", "speed", "seeds' speed",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        tuned, widths = (" to ".join(map(str, row[name])) for name in ("tuned", "widths"))
        if "failure" in row:
            table.add_row(row["network"], tuned, widths, row["failure"])
            continue
        table.add_row(
            row["network"],
            tuned,
            widths,
            f"{row['transfer_seconds']:.3f}",
            f"{row['tune_seconds']:.1f}",
            *(f"{row[f'{name}_latency'] * 1e6:.0f}" for name in _SIDES),
            f"{row['speed_ratio']:.2f}",
            f"{row['seeds_speed_ratio']:.2f}",
        )
    Console().print(table)
    for name, figure in _figures(rows).items():
        print(f"{name}: {figure:.4g}")


if __name__ == "__main__":
    main()
