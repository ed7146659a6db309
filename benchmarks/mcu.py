"""Microcontrollers: what models take on emulated boards, unscheduled, by rule, tuned and pruned.

For every model and board: flash, arena against its lower bound, stack, and exact instruction counts
without schedules, with those by rule, after tuning (of which the rule's schedule is the first
candidate), and after tuning with the smallest arena that padding in other places gives. Every count
is taken three times. Estimated cycles, where llvm-mca is installed, are those of the same programs:
another unit, told by LLVM's model of the pipeline. Then the example model is pruned to a third of
its instructions within flash and RAM budgets, and the latency model predicts random pruned variants
that it has not seen.

An interrupted run goes on where it stopped: what was measured is kept in the cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.results_file import write_results
from tvm_prune import Settings
from tvm_prune.board import Board, load_board
from tvm_prune.budget import Budgets
from tvm_prune.compilation import example_inputs
from tvm_prune.errors import BoardError
from tvm_prune.frontend import load
from tvm_prune.mcu import CModel, compile_c_model
from tvm_prune.mcu.dialogue import profile_model, run_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.pad_choice import with_padding_that_fits
from tvm_prune.measure.qemu import estimating_link, qemu_link
from tvm_prune.model import Model
from tvm_prune.session import Session, open_session
from tvm_prune.settings import default_cache
from tvm_prune.transform import inference_form
from tvm_prune.tuning import default_schedule, kernel_calls, lower, tune
from tvm_prune.workflow import Run, started

ROOT = Path(__file__).parent.parent
EXAMPLE = "fashion_resnet8"
BOARDS = ("mps2-an386", "mps2-an500")
PRUNED_BOARD = "mps2-an500"
RUNS = 3
_TIMEOUT = 600.0


def main() -> None:
    """Run everything, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", help="names; all five by default")
    parser.add_argument("--boards", nargs="*", default=BOARDS)
    parser.add_argument("--trials", type=int, default=64, help="of each kernel, at most")
    parser.add_argument("--variants", type=int, default=40, help="pruned models to predict")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--results", type=Path, help="another file to write")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tvm-prune-mcu-") as folder:
        models = tiny_models(Path(folder))
        for name in options.models or models:
            for board in options.boards:
                rows.append(_kept_row(models[name], load_board(board), options, Path(folder)))
                print_rows(rows)
    if options.variants:
        rows += pruned_rows(options)
    write_results("mcu", figures(rows), rows, options.results)
    print(figures(rows))


def tiny_models(folder: Path) -> dict[str, Model]:
    """The example model and the architectures of MLPerf Tiny, by name."""
    script = ROOT / "scripts" / "write_tiny_models.py"
    subprocess.run([sys.executable, str(script), "--output", str(folder)], check=True)
    files = [ROOT / "examples" / f"{EXAMPLE}.onnx", *sorted(folder.glob("*.onnx"))]
    return {path.stem: load(str(path)) for path in files}


def _kept_row(
    model: Model, board: Board, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """A row of this run, or of an earlier one that was interrupted after it."""
    path = options.cache / "mcu-rows" / f"{model.name}-{board.name}-{options.trials}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    row = _model_row(model, board, options, folder)
    if "failure" not in row:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row), encoding="utf-8")
    return row


def _model_row(
    model: Model, board: Board, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    row: dict[str, Any] = {"experiment": "model", "model": model.name, "board": board.name}
    try:
        with open_session(board, options.cache) as session:
            return row | _measured_model(model, session, options.trials, folder)
    except Exception as error:
        return row | {"failure": f"{type(error).__name__}: {error}"}


def _measured_model(model: Model, session: Session, trials: int, folder: Path) -> dict[str, Any]:
    target = session.target
    lowered = lower(inference_form(model), target)
    calls = kernel_calls(lowered)
    workloads = {call.name: call.workload for call in calls}
    by_rule = {name: default_schedule(each, target) for name, each in workloads.items()}
    report = tune(
        dict(Counter(call.workload for call in calls)),
        target, session.measurer, session.database, trials_per_kernel=trials,
        library=session.seeds,
    )  # fmt: skip
    tuned = {name: session.source(each).schedule(each, target) for name, each in workloads.items()}
    result: dict[str, Any] = {"trials": report.trials, "kernels": len(workloads)}
    small = with_padding_that_fits(lowered, tuned, target, room=0)
    kinds: dict[str, dict[str, Any]] = {"unscheduled": {}, "rule": by_rule, "tuned": tuned}
    kinds["tuned_small"] = small
    for kind, schedules in kinds.items():
        compiled = compile_c_model(
            lowered, target, model.name, model.inputs, model.outputs, scheduled=schedules
        )
        result |= {
            f"{kind}_{figure}": value
            for figure, value in _run(compiled, model, session.board, folder).items()
        }
    costs = zip(result["rule_kernels"], result["tuned_kernels"], strict=True)
    result["calls_slower_than_by_rule"] = sum(tuned > rule for rule, tuned in costs)
    return result


def _run(compiled: CModel, model: Model, board: Board, folder: Path) -> dict[str, Any]:
    """Memory and cost of one build, from several runs of the emulator."""
    builder = FirmwareBuilder(board, folder / f"parts-{board.name}")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        elf = builder.build(compiled.files, Path(place))
        memory = builder.memory(elf)
        link = qemu_link(board, _TIMEOUT)(elf, builder)
        inputs = [example_inputs(model)]
        reports = [run_model(link, model.inputs, (), inputs) for _ in range(RUNS)]
        cycles = _estimated_cycles(elf, builder, model)
        told = builder.build(compiled.files, Path(place) / "told", profile=True)
        calls = len(compiled.kernel_names)
        kernels = profile_model(qemu_link(board, _TIMEOUT)(told, builder), model.inputs, calls)
    return {
        "instructions": reports[0].costs[0],
        "estimated_cycles": cycles,
        "kernels": list(kernels.kernels),
        "instructions_of_each_run": [report.costs[0] for report in reports],
        "stack": max(report.stack for report in reports),
        "flash": memory.flash,
        "ram": memory.ram,
        "arena": compiled.footprint.arena,
        "arena_lower_bound": compiled.footprint.arena_lower_bound,
        "weights": compiled.footprint.weights,
    }


def _estimated_cycles(elf: Path, builder: FirmwareBuilder, model: Model) -> int | None:
    """Cycles of one run; None where llvm-mca is missing or does not know the processor."""
    link = estimating_link(builder.board, _TIMEOUT)(elf, builder)
    try:
        return run_model(link, model.inputs, (), [example_inputs(model)]).costs[0]
    except BoardError as error:
        print(error, file=sys.stderr)
        return None


def pruned_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The example model pruned within three budgets, and predictions for random variants."""
    data = np.load(ROOT / "examples" / "fashion_calibration.npz")
    test = np.load(ROOT / "examples" / "fashion_test.npz")
    settings = replace(Settings(), trials=options.trials, cache=options.cache)
    with started(
        load(str(ROOT / "examples" / f"{EXAMPLE}.onnx")), PRUNED_BOARD,
        calibration={"input": data["input"]}, evaluation=dict(test), settings=settings,
    ) as run:  # fmt: skip
        predicted = _predictions(run, options.variants)
        budgets = Budgets.parse(latency="0.33x", flash="0.6x", ram="0.7x")
        result = run.prune(budgets)
        dense = run.search.models.dense_memory()
        with tempfile.TemporaryDirectory() as folder:
            bundle = result.save(folder)
            memory = run.search.models.memory(bundle.library)
    return [
        *predicted,
        {
            "experiment": "pruned",
            "board": PRUNED_BOARD,
            "budget": str(budgets),
            "instructions": result.latency.median,
            "dense_instructions": result.dense_latency.median,
            "predicted": result.predicted,
            **{f"dense_{name}": size for name, size in dense.items()},
            **memory,
            "accuracy": result.accuracy,
            "dense_accuracy": result.dense_accuracy,
        },
    ]


def _predictions(run: Run, count: int) -> list[dict[str, Any]]:
    """Random pruned models: what the latency model says before any of their kernels is measured.

    ``aided`` is what it says when the kernels that it may not predict were measured, as the product
    does before it builds a plan.
    """
    search = run.search
    model, generator = search.fitter.fit(), np.random.default_rng(11)
    dense = search.compilation.dense
    scale = search.models.dense_cost().median / model.total(dense)
    variants = []
    for _ in range(count):
        share = generator.uniform(0.3, 1.0)
        variants.append(
            tuple(max(2, round(width * share * generator.uniform(0.8, 1.0))) for width in dense)
        )
    unsure = {kernel for widths in variants for kernel in model.unsure(widths)}
    search.fitter.add(search.collector.collect_kernels(unsure))
    aided = search.fitter.fit()
    aided_scale = search.models.dense_cost().median / aided.total(dense)
    rows = []
    for widths in variants:
        measured = search.models.cost(widths).median
        guess = model.total(widths) * scale
        rows.append(
            {"experiment": "prediction", "widths": list(widths), "predicted": guess,
             "measured": measured, "error": guess / measured - 1,
             "aided_error": aided.total(widths) * aided_scale / measured - 1,
             "kernels_measured_for_all_variants": len(unsure)}
        )  # fmt: skip
    return rows


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The summary; figures of which nothing was measured are left out."""
    models = [row for row in rows if row["experiment"] == "model" and "failure" not in row]
    found: dict[str, float] = {}
    if models:
        found["arena_ratio_worst"] = max(
            r["tuned_arena"] / r["tuned_arena_lower_bound"] for r in models
        )
        found["tuned_speedup_worst"] = min(
            r["unscheduled_instructions"] / r["tuned_instructions"] for r in models
        )
        found["counts_repeat_exactly"] = float(
            all(
                len(set(r[f"{kind}_instructions_of_each_run"])) == 1
                for r in models
                for kind in ("unscheduled", "rule", "tuned", "tuned_small")
            )
        )
    for figure, name in (("resnet8", "resnet8"), ("dscnn", "ds_cnn")):
        for row in models:
            if (row["model"], row["board"]) == (name, "mps2-an500"):
                found[f"{figure}_m7_instructions"] = row["tuned_instructions"]
    errors = [abs(row["error"]) for row in rows if row["experiment"] == "prediction"]
    if errors:
        found["prediction_within_5_percent_share"] = float(np.mean(np.array(errors) <= 0.05))
        found["prediction_error_worst"] = max(errors)
    aided = [abs(r["aided_error"]) for r in rows if r["experiment"] == "prediction"]
    if aided:
        within = np.array(aided) <= 0.05
        found["aided_prediction_within_5_percent_share"] = float(np.mean(within))
        found["aided_prediction_error_worst"] = max(aided)
    for row in rows:
        if row["experiment"] == "pruned":
            found["pruned_instructions_ratio"] = row["instructions"] / row["dense_instructions"]
    return found


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table so far."""
    table = Table(
        "model",
        "board",
        "flash",
        "arena",
        "of bound",
        "stack",
        "plain",
        "rule",
        "tuned",
        "small arena",
        "tuned",
        "cycles",
    )
    for row in rows:
        if "failure" in row:
            table.add_row(row["model"], row["board"], row["failure"])
            continue
        table.add_row(
            row["model"], row["board"], f"{row['tuned_flash']:,}", f"{row['tuned_arena']:,}",
            f"{row['tuned_arena'] / row['tuned_arena_lower_bound']:.3f}",
            f"{row['tuned_stack']:,}",
            *(f"{row[f'{kind}_instructions'] / 1e6:.2f} M"
              for kind in ("unscheduled", "rule", "tuned")),
            f"{row['tuned_small_arena']:,}", f"{row['tuned_small_instructions'] / 1e6:.2f} M",
            _millions(row["tuned_estimated_cycles"]),
        )  # fmt: skip
    Console(width=140).print(table)


def _millions(count: float | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.2f} M"


if __name__ == "__main__":
    main()
