"""How well kernels and whole models are predicted at widths that were never measured.

Kernels of three models are tuned, and the product measures as many pruned ones as the budget
allows. The product's latency model and every baseline are fitted to the same measurements of a
model and then predict

- its kernels at *unseen widths*: random ones, none of which is among those learned from;
- the same kernels as those of a *new model*: learned from the other models' kernels and, of the
  model itself, the dense ones only, which tuning has measured anyway;
- *whole models* pruned to random widths, which are then built and measured in turns with the dense
  model. Ours looks up the kernels that it has measured, and measures those whose interval is too
  wide to predict them, as the product does; both count as measurements.

Some test kernels and every whole model are measured again later in the run: the difference is the
machine's own noise, which no prediction can beat.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.flops_method import fit_flops, fit_flops_per_kernel
from benchmarks.kernel_samples import (
    Subject,
    open_subjects,
    predict_by_latency_model,
    predict_new_model,
)
from benchmarks.latency_model_figures import figures_of, print_figures
from benchmarks.nn_meter_method import fit_nn_meter, fit_nn_meter_log
from benchmarks.predictors import Fit, Kernel, Predictor, as_text
from benchmarks.results_file import write_results
from benchmarks.torchvision_zoo import exported
from benchmarks.whole_variants import variant_rows
from tvm_prune.board import load_board
from tvm_prune.latency import Sample
from tvm_prune.measurement import Failure
from tvm_prune.session import open_session
from tvm_prune.settings import Settings

BASELINES: dict[str, Fit] = {
    "flops": fit_flops,
    "nn_meter": fit_nn_meter,
    "flops_per_kernel": fit_flops_per_kernel,
    "nn_meter_log": fit_nn_meter_log,
}
TORCHVISION = ("resnet18", "mobilenet_v2")
EXAMPLE = "fashion_resnet8"
_EXAMPLES = Path(__file__).parent.parent / "examples"

SEED = 0
TEST_SEED = 5_000_011
"""Draws the widths to test at; the product draws those to learn from with seed 0."""

Rows = list[dict[str, Any]]


def main() -> None:
    """Measure, fit, predict and compare; print the table and write the results."""
    options = _options()
    names = options.names or [*TORCHVISION, EXAMPLE]
    with (
        open_session(load_board(options.board), options.cache) as session,
        tempfile.TemporaryDirectory(prefix="tvm-prune-") as folder,
    ):
        paths = {name: _path(name, options.models) for name in names}
        settings = Settings(trials=options.trials, seed=SEED, cache=options.cache)
        subjects = open_subjects(paths, session, settings, options.measurements, Path(folder))
        rows = [_model_row(subject) for subject in subjects]
        rows += _kernel_rows(subjects, options, Path(folder))
        for subject in subjects:
            if options.names or subject.name in TORCHVISION:
                print(f"{subject.name}: {options.variants} whole variants", flush=True)
                baselines = _fitted(subject)
                rows += variant_rows(subject, options.variants, TEST_SEED, baselines)
                rows.append(_unsure_row(subject, rows))
    figures = figures_of(rows, BASELINES)
    write_results("latency_model", figures, rows, options.output)
    print_figures(figures, BASELINES)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="MODEL",
                        help=f"only these ({', '.join(TORCHVISION)}, {EXAMPLE})")  # fmt: skip
    parser.add_argument("--board", default="host")
    parser.add_argument("--models", type=Path, default=Path("build/zoo"),
                        help="folder of the ONNX files; missing ones are written")  # fmt: skip
    parser.add_argument("--cache", type=Path, default=Path("build/latency_model"),
                        help="keeps tuned schedules and measurements over runs")  # fmt: skip
    parser.add_argument("--trials", type=int, default=64, help="for each dense kernel")
    parser.add_argument("--measurements", type=int, default=1500,
                        help="kernels to learn from, of all models together")  # fmt: skip
    parser.add_argument("--test-choices", type=int, default=4,
                        help="random pruned forms of each model to test kernels of")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=30, help="test kernels measured again")
    parser.add_argument("--variants", type=int, default=15, help="whole models, of each model")
    parser.add_argument("--output", type=Path, help="instead of results/latency_model.json")
    return parser.parse_args()


def _path(name: str, models: Path) -> Path:
    return _EXAMPLES / f"{name}.onnx" if name == EXAMPLE else exported(name, models)


def _model_row(subject: Subject) -> dict[str, Any]:
    """What the methods learn from, and the error that the product tells of itself."""
    error = subject.latency_model.error
    kernels = {kernel.identity for kernel in subject.kernels_of(subject.samples)}
    return {
        "row": "model",
        "model": subject.name,
        "board": subject.search.session.board.name,
        "unit": subject.latency_model.unit,
        "families": len(subject.families),
        "measurements": len(kernels),
        "told_held_out_kernels": error.samples,
        "told_mape_percent": error.mape_percent,
        "told_within_10_percent_share": error.within_10_percent,
    }


def _unsure_row(subject: Subject, rows: Rows) -> dict[str, Any]:
    """How many kernels were measured because the variants had some that may not be predicted."""
    [before] = [
        r["measurements"] for r in rows if r["row"] == "model" and r["model"] == subject.name
    ]
    kernels = {kernel.identity for kernel in subject.kernels_of(subject.samples)}
    return {"row": "unsure", "model": subject.name, "measurements": len(kernels) - before}


def _kernel_rows(subjects: Sequence[Subject], options: argparse.Namespace, folder: Path) -> Rows:
    """Test kernels of every model, measured and predicted by every method."""
    learned = {
        kernel.identity for subject in subjects for kernel in subject.kernels_of(subject.samples)
    }
    rows, tested, failed = [], [], []
    for subject in subjects:
        samples, failures = subject.measure(subject.choices(options.test_choices, TEST_SEED))
        failed += [_failed_row(subject, failure) for failure in failures]
        kernels, costs = _unseen(subject, samples, learned)
        assert not learned & {kernel.identity for kernel in kernels}, "tested where it learned"
        own = [_kernel_row(*measured) for measured in zip(kernels, costs, strict=True)]
        others = [other for other in subjects if other is not subject]
        _add_predictions(own, subject, others, kernels)
        rows += own
        tested += kernels
    _measure_again(subjects, dict(zip(tested, rows, strict=True)), options.repeats, folder)
    return [*rows, *failed]


def _unseen(
    subject: Subject, samples: Sequence[Sample], learned: set[str]
) -> tuple[list[Kernel], list[Sample]]:
    """Measured kernels that are none of those learned from, each program once."""
    unseen = {
        kernel.identity: (kernel, sample)
        for kernel, sample in zip(subject.kernels_of(samples), samples, strict=True)
        if kernel.identity not in learned
    }
    return [kernel for kernel, _ in unseen.values()], [sample for _, sample in unseen.values()]


def _kernel_row(kernel: Kernel, sample: Sample) -> dict[str, Any]:
    return {
        "row": "kernel",
        "model": kernel.model,
        "kernel": kernel.geometry.structure.fused,
        "family": kernel.family,
        "widths": as_text(kernel.widths),
        "calls": kernel.calls,
        "operations": kernel.geometry.operations,
        "measured": sample.cost,
        "spread": sample.spread,
    }


def _failed_row(subject: Subject, failure: Failure) -> dict[str, Any]:
    return {
        "row": "failed kernel",
        "model": subject.name,
        "stage": failure.stage,
        "failure": failure.cause,
    }


def _add_predictions(
    rows: Rows, subject: Subject, others: Sequence[Subject], kernels: Sequence[Kernel]
) -> None:
    """What every method predicts after it has seen pruned kernels of the model, and if not."""
    predictions = {"ours": predict_by_latency_model(subject.latency_model, kernels)}
    for row, kernel in zip(rows, kernels, strict=True):
        row["lowest"], row["highest"] = subject.interval(kernel)
    predictions |= {name: predict(kernels) for name, predict in _fitted(subject).items()}
    if others:
        predictions["new_model_ours"] = predict_new_model(subject, others, kernels)
        for name, predict in _fitted(subject, others).items():
            predictions[f"new_model_{name}"] = predict(kernels)
    for name, costs in predictions.items():
        for row, cost in zip(rows, costs.tolist(), strict=True):
            row[name] = cost


def _fitted(subject: Subject, others: Sequence[Subject] = ()) -> dict[str, Predictor]:
    """The baselines, fitted to what the product learns from.

    Args:
        subject: the model to predict.
        others: if any, all is learned from them, and nothing but dense kernels from `subject`.
    """
    samples = [(subject, subject.dense_samples if others else subject.samples)]
    samples += [(other, other.samples) for other in others]
    kernels = [kernel for member, own in samples for kernel in member.kernels_of(own)]
    costs = np.array([sample.cost for _, own in samples for sample in own])
    return {name: fit(kernels, costs) for name, fit in BASELINES.items()}


def _measure_again(
    subjects: Sequence[Subject], rows: Mapping[Kernel, dict[str, Any]], count: int, folder: Path
) -> None:
    """Measure some of the test kernels a second time."""
    chosen = random.Random(SEED).sample(list(rows), min(count, len(rows)))
    for subject in subjects:
        own = [kernel for kernel in chosen if kernel.model == subject.name]
        again = subject.measure_again(own, folder / f"again-{subject.name}.sqlite")
        for kernel, sample in zip(subject.kernels_of(again), again, strict=True):
            rows[kernel]["again"] = sample.cost


if __name__ == "__main__":
    main()
