"""What the planner is worth: against the dense model, FLOPs budgets, and uniform pruning.

Two experiments on the example network; rows of what is not run (experiment, objective, seed, level)
are kept.

*Random latency budgets.* Those that the results file holds already are not run again, so an
interrupted run goes on. Each is planned, built, verified and measured as ``tvm-prune prune`` does
it (recovery left out: it changes no latency). The finished model is then measured once more, in
turns with the dense one. It counts as slower if its median is above the dense model's; where the
two are closer than the spread of their ratio, turn by turn, both are measured a second time and
that run decides. A budget that the program refuses is a row of its own and no plan.

*Equal latency.* Three other methods are looked for at each level: a budget in multiply-accumulates,
by the same exact solver, over any widths and over multiples of eight alone, as is customary where
the device is thought of; and uniform pruning, the same share of every group, in multiples of eight.
Their one number is found on the *measured* latency; then ours is planned with what theirs was
measured at as its budget, which is corrected until the two, in turns, take the same time. Schedules
and recovery are the same for all. This is done for two objectives: ``importance`` (l2), judged by
the importance that is kept, and the product's default, by which the budgets in multiply-accumulates
choose as well, judged by accuracy and by the loss that it expects. In the end the two models of a
pair are measured once more, in turns with the dense one; how much longer one of them takes is told
turn by turn. Seed 0 is the network in ``examples/``; others are trained as that one was. They share
their kernels.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.model_timing import of_turns
from benchmarks.planner_rivals import cost_row, equal_latency_rows
from benchmarks.results_file import circumstances, stored_rows, write_results
from scripts import train_example
from tvm_prune.budget import Budgets
from tvm_prune.console import ConsoleProgress
from tvm_prune.errors import BudgetError
from tvm_prune.frontend import load
from tvm_prune.measurement import Measurement
from tvm_prune.settings import Settings
from tvm_prune.workflow import Run, started

_EXAMPLES = Path(__file__).parent.parent / "examples"
_NETWORK = "fashion_resnet8.onnx"
LOWEST_RATIO, HIGHEST_RATIO = 0.25, 1.0
LEVELS = (0.75, 0.6, 0.5, 0.42, 0.35)
SEED = 0
RANDOM_BUDGET, EQUAL_LATENCY = EXPERIMENTS = ("random budget", "equal latency")
IMPORTANCE, PRODUCT = "importance", "product"
OBJECTIVES: Mapping[str, Settings] = {
    IMPORTANCE: Settings(criterion="l2", objective="importance"),
    PRODUCT: Settings(),
}
"""What is to be kept as much of as possible."""


def main() -> None:
    """Run the experiments; print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=tuple(OBJECTIVES))
    parser.add_argument("--budgets", type=int, default=50, help="random latency budgets")
    parser.add_argument("--levels", nargs="*", type=float, default=LEVELS, help="of equal latency")
    parser.add_argument("--seeds", nargs="+", type=int, default=(SEED,), help="of equal latency")
    parser.add_argument("--board", default="host", help="one with an exact clock has no noise")
    parser.add_argument("--clock", help="what to measure in, where the board has several clocks")
    parser.add_argument("--trials", type=int, default=Settings().trials)
    parser.add_argument("--samples", type=int, default=Settings().samples)
    parser.add_argument("--cache", type=Path, help="tuned cache to use; a temporary one by default")
    parser.add_argument("--output", type=Path, help="another file to write")
    options = parser.parse_args()
    stored = stored_rows("planner", options.output)
    rows = [row for row in stored if not _is_run(row, options)]
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder) / "cache"
        effort = {
            "trials": options.trials, "samples": options.samples, "clock": options.clock,
            "cache": cache, "seed": SEED,
        }  # fmt: skip
        if RANDOM_BUDGET in options.experiments:
            settings = replace(OBJECTIVES[IMPORTANCE], recover=False, **effort)
            with _started(_EXAMPLES, settings, options.board) as run:
                for row in _random_budgets(run, options.budgets, rows, Path(folder)):
                    rows.append(row)
                    write_results("planner", figures_of(rows), rows, options.output)
        if EQUAL_LATENCY in options.experiments:
            for seed, name in itertools.product(options.seeds, options.objectives):
                settings = replace(OBJECTIVES[name], **effort)
                with _started(_example(seed, cache), settings, options.board) as run:
                    found = equal_latency_rows(run, options.levels, Path(folder))
                    rows += [{"objective": name, "seed": seed, **row} for row in found]
    figures = figures_of(rows)
    write_results("planner", figures, rows, options.output)
    _print(rows, figures)


def _is_run(row: Mapping[str, Any], options: argparse.Namespace) -> bool:
    """Whether a stored row is about to be replaced."""
    return (
        row["experiment"] == EQUAL_LATENCY
        and EQUAL_LATENCY in options.experiments
        and row["objective"] in options.objectives
        and row["seed"] in options.seeds
        and row["level"] in options.levels
    )


def _example(seed: int, cache: Path) -> Path:
    """Folder of the example network of a seed; it is trained where it was not before."""
    if seed == SEED:
        return _EXAMPLES
    folder = cache / f"example-{seed}"
    if not (folder / _NETWORK).exists():
        train_example.run(train_example.Settings(seed=seed, output=folder))
    return folder


@contextmanager
def _started(example: Path, settings: Settings, board: str) -> Iterator[Run]:
    with started(
        load(example / _NETWORK),
        board,
        calibration=dict(np.load(example / "fashion_calibration.npz")),
        evaluation=_test_images() if settings.recover else None,
        settings=settings,
        progress=ConsoleProgress(),
    ) as run:
        yield run


def _test_images() -> dict[str, Any]:
    """All 10,000 of them: methods differ by a few images in a thousand."""
    test = train_example.load_split(train_example.DEFAULT_DATA, "t10k")
    return {"input": test.images, "label": test.labels}


def _random_budgets(
    run: Run, count: int, rows: Sequence[Mapping[str, Any]], folder: Path
) -> Iterator[dict[str, Any]]:
    """The rows of so many budgets, but for those that are there already."""
    generator = random.Random(SEED)
    ratios = [generator.uniform(LOWEST_RATIO, HIGHEST_RATIO) for _ in range(count)]
    known = {row["ratio"] for row in rows if row["experiment"] == RANDOM_BUDGET}
    for number, ratio in enumerate(ratios):
        if ratio not in known:
            told = {"experiment": RANDOM_BUDGET, "ratio": ratio, "circumstances": circumstances()}
            row = told | _random_budget(run, ratio, folder / f"random-{number}.so")
            print(f"{ratio:.3f}: {row.get('measured_ratio', 'refused')}", flush=True)
            yield row


def _random_budget(run: Run, ratio: float, library: Path) -> dict[str, Any]:
    """Prune to one budget, and measure the result again, apart from the program's own decision."""
    try:
        result = run.prune(Budgets.parse(latency=f"{ratio:.6f}x"))
    except BudgetError as error:
        return {"refused": str(error)}
    library.write_bytes(result.library)
    dense_library = run.search.models.build(run.search.compilation.dense)
    runs = [run.search.models.measure([dense_library, library])]
    if _within_noise(*runs[0]):
        runs.append(run.search.models.measure([dense_library, library]))
    dense, pruned = runs[-1]
    return {
        "widths": [width.kept for width in result.plan.widths],
        "importance_kept": result.importance_kept,
        "gap_percent": result.gap * 100,
        "delivered_ratio": result.latency_ratio,
        "runs": [{"dense": cost_row(before), "pruned": cost_row(after)} for before, after in runs],
        "measured_ratio": pruned.median / dense.median,
        "slower_than_dense": pruned.median > dense.median,
    }


def _within_noise(dense: Measurement, pruned: Measurement) -> bool:
    return abs(dense.median - pruned.median) <= pruned.spread * dense.median


def figures_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The summary: means over the seeds and levels."""
    planned = [row for row in rows if "slower_than_dense" in row]
    budgets = sum(row["experiment"] == "random budget" for row in rows)
    figures: dict[str, float] = {}
    if budgets:
        figures = {
            "budgets": float(budgets),
            "refused_budgets": float(budgets - len(planned)),
            "slower_than_dense_count": float(sum(row["slower_than_dense"] for row in planned)),
        }
    chosen = {
        (row["objective"], row["against"], row["seed"], row["level"], row["method"] == "ours"): row
        for row in rows
        if "method" in row
    }
    pairs = defaultdict(list)
    for (*place, is_ours), theirs in chosen.items():
        if not is_ours:
            objective, method, *_ = place
            pairs[objective, method].append((chosen[(*place, True)], theirs))
    for (objective, method), found in pairs.items():
        figures |= _leads(objective, method, found)
    return figures


def _leads(
    objective: str, method: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> dict[str, float]:
    """Means of our plan's leads over another one, in what both aimed at."""
    latency = [
        of_turns(ours["latency"]["samples"], its["latency"]["samples"]) - 1 for ours, its in pairs
    ]
    figures = {f"latency_above_{method}_percent_by_{objective}": statistics.mean(latency) * 100}
    if objective == PRODUCT:
        points = [(ours["accuracy"] - its["accuracy"]) * 100 for ours, its in pairs]
        figures[f"accuracy_lead_over_{method}_points"] = statistics.mean(points)
        if len(points) > 1:
            error = statistics.stdev(points) / len(points) ** 0.5
            figures[f"accuracy_lead_over_{method}_points_error"] = error
        losses = [
            ours["expected_loss"] / its["expected_loss"] - 1
            for ours, its in pairs
            if "expected_loss" in ours
        ]
        if losses:
            figures[f"expected_loss_over_{method}_percent"] = statistics.mean(losses) * 100
        return figures
    for name, key in {"importance": "kept", "importance_sum": "sum_share"}.items():
        leads = [ours[f"importance_{key}"] / its[f"importance_{key}"] - 1 for ours, its in pairs]
        figures[f"{name}_lead_over_{method}_percent"] = statistics.mean(leads) * 100
    return figures


def _print(rows: Sequence[Mapping[str, Any]], figures: Mapping[str, float]) -> None:
    table = Table("objective", "seed", "level", "method", "ratio", "importance", "sum", "accuracy",
                  "widths", title="equal latency")  # fmt: skip
    for row in rows:
        if "method" in row:
            table.add_row(
                row["objective"], str(row["seed"]), f"{row['level']}x", row["method"],
                f"{row['measured_ratio']:.3f}", f"{row['importance_kept']:.3f}",
                f"{row['importance_sum_share']:.3f}", f"{row['accuracy']:.2%}",
                " ".join(map(str, row["widths"])),
            )  # fmt: skip
    Console().print(table)
    for name, figure in figures.items():
        print(f"{name}: {figure:.4g}")


if __name__ == "__main__":
    main()
