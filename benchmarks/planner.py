"""What the planner is worth: against the dense model, FLOPs budgets, and uniform pruning.

Two experiments on the example network, in one cache, so that everything is tuned once.

*Random latency budgets.* For each, the network is planned, built, verified and measured as
``tvm-prune prune`` does it (recovery left out: it changes no latency). The finished model is then
measured once more, in turns with the dense one. It counts as slower if its median is above the
dense model's; where the two are closer than the spread of either, both are measured a second time
and that run decides. A budget that the program refuses is a row of its own and no plan.

*Equal latency.* At each level our plan is compared with two others that may be as slow as it was
measured: a budget in multiply-accumulates, by the same exact solver, and uniform pruning, the same
share of every group. Importance (l2), transferred schedules and recovery are the same for all, and
all go by that importance; the product's default also looks at the network's output. Their
widths are multiples of eight, as is customary (and kind to them: these tile well). Their one free
number is found by bisection on the *measured* latency; of all plans measured within ours, the one
with most importance counts. In the end all models are measured in one run, in turns.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.results_file import write_results
from tvm_prune.budget import Budgets
from tvm_prune.console import ConsoleProgress
from tvm_prune.deployment import deploy
from tvm_prune.errors import BudgetError
from tvm_prune.frontend import load
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.operations import multiply_accumulates
from tvm_prune.planner import Ceiling, Problem, kept_shares, solve
from tvm_prune.settings import Settings
from tvm_prune.workflow import Run, started

_EXAMPLES = Path(__file__).parent.parent / "examples"
LOWEST_RATIO, HIGHEST_RATIO = 0.25, 1.0
LEVELS = ("0.75x", "0.5x", "0.35x")
MULTIPLE = 8
BISECTIONS = 8
SEED = 0


def main() -> None:
    """Run both experiments; print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", type=int, default=50, help="random latency budgets")
    parser.add_argument("--levels", nargs="*", default=LEVELS, help="budgets of the comparison")
    parser.add_argument("--trials", type=int, default=Settings().trials)
    parser.add_argument("--samples", type=int, default=Settings().samples)
    parser.add_argument("--cache", type=Path, help="tuned cache to use; a temporary one by default")
    parser.add_argument("--output", type=Path, help="another file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder) / "cache"
        rows: list[dict[str, Any]] = []
        with _started(options, cache, recover=False) as run:
            rows += _random_budgets(run, options.budgets, Path(folder))
        with _started(options, cache, recover=True) as run:
            rows += _equal_latency(run, options.levels, Path(folder))
    figures = _figures(rows)
    write_results("planner", figures, rows, options.output)
    _print(rows, figures)


@contextmanager
def _started(options: argparse.Namespace, cache: Path, *, recover: bool) -> Iterator[Run]:
    settings = Settings(
        criterion="l2",
        objective="importance",
        trials=options.trials,
        samples=options.samples,
        recover=recover,
        cache=cache,
        seed=SEED,
    )
    with started(
        load(_EXAMPLES / "fashion_resnet8.onnx"),
        "host",
        calibration=dict(np.load(_EXAMPLES / "fashion_calibration.npz")),
        evaluation=dict(np.load(_EXAMPLES / "fashion_test.npz")) if recover else None,
        settings=settings,
        progress=ConsoleProgress(),
    ) as run:
        yield run


def _random_budgets(run: Run, count: int, folder: Path) -> list[dict[str, Any]]:
    generator = random.Random(SEED)
    rows = []
    for number in range(count):
        ratio = generator.uniform(LOWEST_RATIO, HIGHEST_RATIO)
        row = _random_budget(run, ratio, folder / f"random-{number}.so")
        rows.append({"experiment": "random budget", "ratio": ratio, **row})
        print(f"{ratio:.3f}: {row.get('measured_ratio', 'refused')}", flush=True)
    return rows


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
        "runs": [{"dense": _cost(before), "pruned": _cost(after)} for before, after in runs],
        "measured_ratio": pruned.median / dense.median,
        "slower_than_dense": pruned.median > dense.median,
    }


def _within_noise(dense: Measurement, pruned: Measurement) -> bool:
    noise = max(dense.spread, pruned.spread) * dense.median
    return abs(dense.median - pruned.median) <= noise


def _cost(measurement: Measurement) -> dict[str, Any]:
    return {"median": measurement.median, "samples": list(measurement.samples)}


@dataclass(frozen=True)
class _Choice:
    """Widths that a method chose at one level, and what they cost while it searched."""

    level: str
    method: str
    widths: Widths
    searched: float


def _equal_latency(run: Run, levels: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    choices, rows = [], []
    for level in levels:
        try:
            best = run.search.plan(Budgets.parse(latency=level)).best
        except BudgetError as error:
            rows.append({"experiment": "equal latency", "level": level, "refused": str(error)})
            continue
        if best is None:
            continue
        most = best.measured.median
        choices.append(_Choice(level, "ours", best.solution.widths, most))
        for method, plan in _methods(run).items():
            found = _most_important_within(run, most, plan)
            if found is not None:
                searched = run.search.models.cost(found).median
                choices.append(_Choice(level, method, found, searched))
    return rows + _delivered(run, choices, folder)


def _methods(run: Run) -> Mapping[str, Callable[[float], Widths | None]]:
    """The other methods: widths by a share from 0 to 1."""
    compilation, macs = run.search.compilation, run.search.counts["macs"]
    candidates = [
        sorted({*range(-(-low // MULTIPLE) * MULTIPLE, high + 1, MULTIPLE), high})
        for low, high in compilation.limits
    ]
    model = run.search.fitter.fit()
    problem = Problem(model, compilation.dense, candidates, compilation.scores, overhead=0.0)

    def flops(share: float) -> Widths | None:
        ceiling = Ceiling("macs", macs, share * macs.at(compilation.dense))
        counted = Problem(**{**vars(problem), "ceilings": (ceiling,)})
        try:
            return solve(counted, float("inf")).widths
        except BudgetError:
            return None

    def uniform(share: float) -> Widths | None:
        return tuple(
            min(choices, key=lambda width: abs(width - share * width_of_group))
            for choices, width_of_group in zip(candidates, compilation.dense, strict=True)
        )

    return {"flops": flops, "uniform": uniform}


def _most_important_within(
    run: Run, most: float, plan: Callable[[float], Widths | None]
) -> Widths | None:
    """Bisect a method's share; the best of what was measured at no more than `most`."""
    low, high, within = 0.0, 1.0, set[Widths]()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        widths = plan(middle)
        if widths is None or run.search.models.cost(widths).median <= most:
            low = middle
            within |= set() if widths is None else {widths}
        else:
            high = middle
    return max(within, key=lambda widths: _importance(run, widths)[0], default=None)


def _importance(run: Run, widths: Widths) -> tuple[float, float]:
    """Harmonic mean over the groups of the share kept, and the share of the plain sum."""
    scores = run.search.compilation.scores
    shares = [kept_shares(score)[width] for score, width in zip(scores, widths, strict=True)]
    totals = [float(score.sum()) for score in scores]
    return statistics.harmonic_mean(map(float, shares)), float(np.average(shares, weights=totals))


def _delivered(run: Run, choices: Sequence[_Choice], folder: Path) -> list[dict[str, Any]]:
    """Recover, build and evaluate every choice, and measure all of them in turns."""
    rows, libraries = [], [run.search.models.build(run.search.compilation.dense)]
    for number, choice in enumerate(choices):
        deployed = deploy(run.search, choice.widths, run.calibration)
        libraries.append(Path(shutil.copy(deployed.library, folder / f"level-{number}.so")))
        mean, total = _importance(run, choice.widths)
        rows.append(
            {
                "experiment": "equal latency",
                "level": choice.level,
                "method": choice.method,
                "widths": list(choice.widths),
                "latency_while_searching": choice.searched,
                "importance_kept": mean,
                "importance_sum_share": total,
                "accuracy": run.accuracy_of(libraries[-1], deployed.model),
                "dense_accuracy": run.dense_accuracy,
                "parameters": deployed.model.parameter_count,
                "macs": multiply_accumulates(deployed.model.module),
            }
        )
    dense, *latencies = run.search.models.measure(libraries)
    return [
        row | {"latency": _cost(latency), "measured_ratio": latency.median / dense.median}
        for row, latency in zip(rows, latencies, strict=True)
    ]


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    planned = [row for row in rows if "slower_than_dense" in row]
    budgets = sum(row["experiment"] == "random budget" for row in rows)
    figures = {
        "budgets": float(budgets),
        "refused_budgets": float(budgets - len(planned)),
        "slower_than_dense_count": float(sum(row["slower_than_dense"] for row in planned)),
    }
    by_method = {(row["level"], row["method"]): row for row in rows if "method" in row}
    for method in ("flops", "uniform"):
        its = {level: row for (level, name), row in by_method.items() if name == method}
        pairs = [(by_method[level, "ours"], row) for level, row in its.items()]
        if pairs:
            figures |= _leads(method, pairs)
    return figures


def _leads(
    method: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> dict[str, float]:
    """Means over the levels of our plan against another one."""
    importance = [ours["importance_kept"] / its["importance_kept"] - 1 for ours, its in pairs]
    totals = [ours["importance_sum_share"] / its["importance_sum_share"] - 1 for ours, its in pairs]
    latency = [ours["measured_ratio"] / its["measured_ratio"] - 1 for ours, its in pairs]
    return {
        f"importance_lead_over_{method}_percent": statistics.mean(importance) * 100,
        f"importance_sum_lead_over_{method}_percent": statistics.mean(totals) * 100,
        f"accuracy_lead_over_{method}_points": 100
        * statistics.mean(ours["accuracy"] - its["accuracy"] for ours, its in pairs),
        f"latency_above_{method}_percent": statistics.mean(latency) * 100,
    }


def _print(rows: Sequence[Mapping[str, Any]], figures: Mapping[str, float]) -> None:
    table = Table("level", "method", "ratio", "importance", "sum", "accuracy", "widths",
                  title="equal latency")  # fmt: skip
    for row in rows:
        if "method" in row:
            table.add_row(
                row["level"], row["method"], f"{row['measured_ratio']:.3f}",
                f"{row['importance_kept']:.3f}", f"{row['importance_sum_share']:.3f}",
                f"{row['accuracy']:.2%}", " ".join(map(str, row["widths"])),
            )  # fmt: skip
    Console().print(table)
    for name, figure in figures.items():
        print(f"{name}: {figure:.4g}")


if __name__ == "__main__":
    main()
