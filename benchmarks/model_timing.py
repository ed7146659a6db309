"""How well two models can be told apart: by processes, and by what is compared.

    python -m benchmarks.model_timing [--rounds 24] [--cache CACHE]

The example network and two pruned ones, at the schedules of a tuned cache or at default ones, take
turns: fifteen turns in one process, three turns in each of five processes, and the same without
warming the processes up. Each way is judged by how much the ratio of pruned to dense differs from
round to round, and by its mean, told by the ratio of medians and by the median of the ratios of
single turns. Five processes that are warm, and the ratios of single turns, are what the program
does.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results_file import write_results
from tvm_prune.compilation import example_inputs
from tvm_prune.frontend import load
from tvm_prune.latency import Widths
from tvm_prune.measure import Repeats, measure_interleaved
from tvm_prune.measure.executable import run_in_worker
from tvm_prune.measure.jobs import time_models
from tvm_prune.progress import Silent
from tvm_prune.settings import Settings
from tvm_prune.workflow import opened

_EXAMPLES = Path(__file__).parent.parent / "examples"
TURNS = 15
PRUNED: Sequence[Widths] = ((16, 16, 32, 48, 64, 40), (24, 24, 48, 56, 80, 64))

Samples = list[list[float]]
"""Seconds per call of every model, the dense one first."""


def in_one_process(libraries: Sequence[Path], inputs: Mapping[str, Any]) -> Samples:
    """All turns in one process."""
    paths = [str(library) for library in libraries]
    job = (paths, dict(inputs), TURNS, Repeats())
    samples: Samples = run_in_worker(time_models, job, threads=None)
    return samples


def in_five_processes(
    libraries: Sequence[Path], inputs: Mapping[str, Any], repeats: Repeats | None = None
) -> Samples:
    """As the program does it, by default."""
    measured = measure_interleaved(libraries, inputs, rounds=TURNS, repeats=repeats)
    return [list(each.samples) for each in measured]


WAYS: Mapping[str, Callable[[Sequence[Path], Mapping[str, Any]], Samples]] = {
    "one process": in_one_process,
    "five cold processes": partial(in_five_processes, repeats=Repeats(warm_up=0.0)),
    "five processes": in_five_processes,
}


def of_medians(pruned: Sequence[float], dense: Sequence[float]) -> float:
    """Ratio of medians."""
    return statistics.median(pruned) / statistics.median(dense)


def of_turns(pruned: Sequence[float], dense: Sequence[float]) -> float:
    """Median of the ratios of single turns: what slows the machine slows both models down."""
    return statistics.median(own / other for own, other in zip(pruned, dense, strict=True))


RATIOS: Mapping[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "ratio of medians": of_medians,
    "median of ratios": of_turns,
}


def figures_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The ratio's standard deviation over the rounds, in percent of it, of the worse pruned model.

    And the mean of each pruned model's ratio.

    Args:
        rows: ``way`` and ``samples`` of every round.
    """
    figures = {}
    for way in WAYS:
        rounds = [row["samples"] for row in rows if row["way"] == way]
        for name, ratio in RATIOS.items():
            key, spreads = f"{name} {way}".replace(" ", "_"), []
            for model in range(1, len(rounds[0])):
                told = [ratio(samples[model], samples[0]) for samples in rounds]
                figures[f"{key}_mean_of_{model}"] = statistics.mean(told)
                spreads.append(100 * statistics.stdev(told) / statistics.mean(told))
            figures[f"{key}_deviation_percent"] = max(spreads)
    return figures


def main() -> None:
    """Time the models both ways, by turns; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--cache", type=Path, help="tuned cache to use; a temporary one by default")
    parser.add_argument("--output", type=Path, help="write the results to another file")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        settings = Settings(criterion="l2", objective="importance", cache=cache)
        model = load(_EXAMPLES / "fashion_resnet8.onnx")
        with opened(model, "host", settings, Silent()) as search:
            every = [search.compilation.dense, *PRUNED]
            libraries = [search.models.build(widths) for widths in every]
            inputs = example_inputs(model)
            for round_number in range(options.rounds):
                for way, measure in WAYS.items():
                    samples = measure(libraries, inputs)
                    rows.append({"round": round_number, "way": way, "samples": samples})
    figures = figures_of(rows)
    write_results("model_timing", figures, rows, options.output)
    table = Table("pruned over dense", "value", title=f"{options.rounds} rounds")
    for name, figure in figures.items():
        table.add_row(name, f"{figure:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
