"""How long recovery takes on networks of ordinary size, in how much memory, and what it is worth.

    python -m benchmarks.recovery [resnet50 ...] [--images 1000] [--models build/zoo]

Half of every group's units go, by the default criterion, and what is left is refitted to unlabelled
images. Architectures are torchvision's (see torchvision_zoo.py for what to install); trained
weights cannot be had without a network, so weights are random, scaled so that no signal dies out,
and images are noise at several scales. The error is the mean squared difference of the outputs from
the dense network's, on images that recovery did not see, over the variance of the latter: random
weights leave little that channels could do for each other, so trained networks recover more.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.results_file import circumstances, write_results
from benchmarks.torchvision_zoo import exported
from benchmarks.unit_scale import drawn_weights, scaled, unit_scale_factors
from tvm_prune.channels import find_channels, keep_best, plan_for_units
from tvm_prune.frontend import load
from tvm_prune.model import Array, Model
from tvm_prune.plan import PruningPlan
from tvm_prune.recover import reconstruct
from tvm_prune.scoring import score
from tvm_prune.settings import Settings
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import prune_parameters, pruned_model
from tvm_prune.verification import reference_outputs

NETWORKS = ("resnet50",)
UNSEEN = 32
KEPT = 0.5
SEED = 0


def main() -> None:
    """Prune and recover every network; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--models", type=Path, default=Path("build/zoo"))
    parser.add_argument("--output", type=Path, help="another file to write")
    options = parser.parse_args()
    rows = [_row(name, options.images, options.models) for name in options.names]
    figures = {
        "minutes_worst": max(row["recovery_seconds"] for row in rows) / 60,
        "peak_gigabytes_worst": max(row["peak_gigabytes"] for row in rows),
    }
    write_results("recovery", figures, rows, options.output)
    _print(rows)


def _row(name: str, count: int, models: Path) -> dict[str, Any]:
    model = load(exported(name, models))
    model = model.with_parameters(_weights(model))
    calibration, unseen = _images(model, count, SEED), _images(model, UNSEEN, SEED + 1)
    scoring_seconds, plan = _timed_plan(model, calibration)
    before = _peak_gigabytes()
    start = time.perf_counter()
    recovered = reconstruct(model, plan, calibration, SEED)
    seconds = time.perf_counter() - start
    plain = prune_parameters(model.parameters, plan)
    return {
        "architecture": name,
        "images": count,
        "image_gigabytes": sum(value.nbytes for value in calibration.values()) / 1e9,
        "parameters": model.parameter_count,
        "scoring_seconds": scoring_seconds,
        "recovery_seconds": seconds,
        "peak_gigabytes_before": before,
        "peak_gigabytes": _peak_gigabytes(),
        "error_pruned": _error(model, plan, plain, unseen),
        "error_recovered": _error(model, plan, recovered, unseen),
        "circumstances": circumstances(),
    }


def _weights(model: Model) -> dict[str, Array]:
    values = drawn_weights(model.parameters)
    image = _images(model, 1, SEED)
    return scaled(values, unit_scale_factors(to_onnx(model), values, image))


def _images(model: Model, count: int, seed: int) -> dict[str, Array]:
    """Sums of coarse and fine noise: neighbouring pixels are alike, as in photographs."""
    generator = np.random.default_rng(seed)
    images = {}
    for spec in model.inputs:
        shape = (count, *spec.shape[1:])
        total = np.zeros(shape, dtype=np.float32)
        for step in (1, 8, 32):
            coarse = (*shape[:2], *(-(-extent // step) for extent in shape[2:]))
            noise = generator.standard_normal(coarse, dtype=np.float32)
            noise = noise.repeat(step, axis=2).repeat(step, axis=3)
            total += noise[:, :, : shape[2], : shape[3]]
        images[spec.name] = total
    return images


def _timed_plan(model: Model, calibration: dict[str, Array]) -> tuple[float, PruningPlan]:
    """Seconds that scoring takes, and the plan that keeps the better units."""
    settings = Settings(seed=SEED, objective="importance")
    channels = find_channels(model.module)
    start = time.perf_counter()
    scoring = score(model, channels, calibration, settings)
    seconds = time.perf_counter() - start
    widths = [max(low, round(KEPT * high)) for low, high in scoring.limits]
    kept = keep_best(scoring.scores, widths)
    return seconds, plan_for_units(channels, kept, model.parameters)


def _error(
    model: Model, plan: PruningPlan, values: dict[str, Array], images: dict[str, Array]
) -> float:
    [wanted] = reference_outputs(model, images)
    [found] = reference_outputs(pruned_model(model, plan).with_parameters(values), images)
    return float(((found - wanted) ** 2).mean() / wanted.var(axis=0).mean())


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("network", "images", "scoring", "recovery", "peak memory", "error pruned",
                  "recovered", title=f"{os.cpu_count()} cores")  # fmt: skip
    for row in rows:
        table.add_row(
            row["architecture"], str(row["images"]), f"{row['scoring_seconds']:.0f} s",
            f"{row['recovery_seconds']:.0f} s", f"{row['peak_gigabytes']:.1f} GB",
            f"{row['error_pruned']:.3f}", f"{row['error_recovered']:.3f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
