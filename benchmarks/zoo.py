"""Which architectures can be pruned, how much of them, and whether the result is exact.

Of every architecture 30-60 % of each group's units are removed at random. The pruned model is
compiled without tuning and compared, on one random input, with the dense model in ONNX Runtime, its
removed slices set to zero (statistics over channels count the kept ones). How long grouping takes
is compared with Torch-Pruning building its graph of the same networks, in turns.

The architectures are torchvision's (see torchvision_zoo.py for what to install), with random
weights, and the small ones that the onnx package ships.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tvm import relax

from benchmarks.grouping import grouping_times
from benchmarks.results_file import stored_rows, write_results
from benchmarks.torchvision_zoo import ARCHITECTURES, exported
from benchmarks.unit_scale import drawn_weights, scaled, session_with_weights, unit_scale_factors
from tvm_prune.board import load_board
from tvm_prune.channels import Channels, find_channels, plan_for_units
from tvm_prune.frontend import load
from tvm_prune.model import Array, Model
from tvm_prune.operations import multiply_accumulates
from tvm_prune.plan import PruningPlan
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import mask_parameters, masked_model, pruned_model

Kept = list[NDArray[np.bool_]]

TOLERANCE = 1e-4
"""Largest difference that passes as rounding, as a share of the largest output."""
CLEARLY = 10
"""How much more than that difference the removal of one more unit must change."""
EPSILON = float(np.finfo(np.float32).eps)
PROBED_GROUPS = 5
PROCESSES = 2
SEED = 0


def main() -> None:
    """Prune and compare every architecture; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("build/zoo"),
                        help="folder of the ONNX files; missing ones are written")  # fmt: skip
    parser.add_argument("names", nargs="*", help="only these; other results stay as they are")
    options = parser.parse_args()
    wanted = options.names or [*ARCHITECTURES, *_shipped()]
    rows = []
    # A process an architecture, so that memory is given back.
    with multiprocessing.get_context("spawn").Pool(PROCESSES, maxtasksperchild=1) as pool:
        for row in pool.imap(partial(_architecture, folder=options.models), wanted):
            rows.append(row)
            print(_line(row), flush=True)
    if options.names:
        stored = stored_rows("zoo")
        times = [row for row in stored if "ratio" in row]
        others = [row for row in stored if "ratio" not in row]
        rows += [row for row in others if row["architecture"] not in options.names]
    else:
        times = grouping_times(options.models)
    write_results("zoo", _figures(rows, times), [*times, *rows])
    _print(rows, times)


def _architecture(name: str, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"architecture": name}
    try:
        return row | _row(_shipped().get(name) or exported(name, folder))
    except Exception as error:  # a failure is a result like any other
        return row | {"exact": False, "failure": f"{type(error).__name__}: {error}".splitlines()[0]}


def _shipped() -> dict[str, Path]:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return {path.stem: path for path in sorted(folder.glob("light_*.onnx"))}


def _row(path: Path) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    with _timed(seconds, "load"):
        model = load(path)
    with _timed(seconds, "group"):
        channels = find_channels(model.module)
    x = _random_inputs(model)
    kept = _random_kept(channels)
    plan = plan_for_units(channels, kept, model.parameters)
    model = model.with_parameters(_unit_scaled(model, plan, x))
    first_units = [np.arange(group.width) == 0 for group in channels.groups]
    narrowest = pruned_model(model, plan_for_units(channels, first_units, model.parameters))
    with _timed(seconds, "rewrite"):
        pruned = pruned_model(model, plan)
    return {
        "groups": len(channels.groups),
        "units": channels.unit_count,
        "parameters": model.parameter_count,
        "prunable_parameter_share": 1 - narrowest.parameter_count / model.parameter_count,
        "prunable_mac_share": 1 - _macs(narrowest) / _macs(model),
        "parameters_left_share": pruned.parameter_count / model.parameter_count,
        "barriers": {barrier.op: barrier.count for barrier in channels.labelling.barriers},
        **_exactness(model, channels, kept, plan, pruned, x, seconds),
        "seconds": seconds,
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _random_inputs(model: Model) -> dict[str, Array]:
    generator = np.random.default_rng(SEED)
    return {
        spec.name: generator.normal(size=spec.shape).astype(spec.dtype) for spec in model.inputs
    }


def _random_kept(channels: Channels) -> Kept:
    """Keep a random 40-70 % of the units of every group."""
    generator = np.random.default_rng(SEED)
    kept = []
    for group in channels.groups:
        mask = np.zeros(group.width, dtype=bool)
        width = max(1, round(group.width * generator.uniform(0.4, 0.7)))
        mask[generator.permutation(group.width)[:width]] = True
        kept.append(mask)
    return kept


def _unit_scaled(model: Model, plan: PruningPlan, x: Mapping[str, Array]) -> dict[str, Array]:
    """Dense weights that let the signal through the pruned model neither vanish nor explode."""
    values = drawn_weights(model.parameters)
    pruned = pruned_model(model.with_parameters(values), plan)
    return scaled(values, unit_scale_factors(to_onnx(pruned), pruned.parameters, x))


def _macs(model: Model) -> int:
    return multiply_accumulates(model.module)


def _exactness(
    model: Model,
    channels: Channels,
    kept: Kept,
    plan: PruningPlan,
    pruned: Model,
    x: Mapping[str, Array],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Whether the compiled pruned model computes what the masked dense model does."""
    masked = _masked(model, plan)
    expected = masked(x, mask_parameters(model.parameters, plan))
    with _timed(seconds, "compile"):
        run = _compiled(pruned.module)
    with _timed(seconds, "run"):
        actual = run(x, pruned.parameters)
    scale = max(float(np.abs(output).max()) for output in expected)
    difference = _difference(actual, expected) / scale
    changes = [
        _difference(masked(x, mask_parameters(model.parameters, other)), expected) / scale
        for other in _one_more_removed(channels, kept, model)
    ]
    change = max(changes)  # a unit that a ReLU silences for this input has no effect at all
    visible = bool(np.isfinite(scale)) and change > CLEARLY * max(difference, EPSILON)
    return {
        "exact": difference <= TOLERANCE and visible,
        "max_relative_difference": difference,
        "change_by_one_more_unit": change,
        "output_scale": scale,
    }


def _difference(left: list[Array], right: list[Array]) -> float:
    return max(
        float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
        for a, b in zip(left, right, strict=True)
    )


Run = Callable[[Mapping[str, Array], Mapping[str, Array]], list[Array]]


def _masked(model: Model, plan: PruningPlan) -> Run:
    """The dense model in ONNX Runtime, its statistics over the kept channels only."""
    masked = to_onnx(masked_model(model, plan))
    session = session_with_weights(masked, [spec.name for spec in model.outputs])
    names = [value.name for value in session.get_inputs()]

    def run(x: Mapping[str, Array], parameters: Mapping[str, Array]) -> list[Array]:
        given = {**parameters, **x}
        return list(session.run(None, {name: given[name] for name in names}))

    return run


def _compiled(module: Any) -> Run:
    """A Relax module compiled with rule-based schedules, without tuning or LLVM's optimisations."""
    target = tvm.target.Target({**load_board("host").target, "opt-level": 0})
    executable = tvm.compile(module, target, relax_pipeline=relax.get_pipeline("tvm_prune"))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    names = [parameter.name for parameter in module["main"].params]

    def run(x: Mapping[str, Array], parameters: Mapping[str, Array]) -> list[Array]:
        inputs = iter(x.values())
        values = [parameters[name] if name in parameters else next(inputs) for name in names]
        outputs = machine["main"](*map(tvm.runtime.tensor, map(np.ascontiguousarray, values)))
        return [outputs.numpy()] if hasattr(outputs, "numpy") else [o.numpy() for o in outputs]

    return run


def _one_more_removed(channels: Channels, kept: Kept, model: Model) -> Iterator[PruningPlan]:
    """Plans that take one more unit out of one of several random groups."""
    generator = np.random.default_rng(SEED)
    candidates = [index for index, mask in enumerate(kept) if mask.sum() > 1]
    for group in generator.permutation(candidates)[:PROBED_GROUPS].tolist():
        other = [mask.copy() for mask in kept]
        other[group][np.argmax(other[group])] = False
        yield plan_for_units(channels, other, model.parameters)


def _figures(rows: list[dict[str, Any]], times: list[dict[str, Any]]) -> dict[str, float]:
    shares = [row["prunable_parameter_share"] for row in rows if "failure" not in row]
    return {
        "architectures": len(rows),
        "architectures_exact_share": sum(row["exact"] for row in rows) / len(rows),
        "grouping_time_ratio_worst": max(row["ratio"] for row in times),
        "prunable_parameter_share_median": statistics.median(shares),
    }


def _line(row: Mapping[str, Any]) -> str:
    if "failure" in row:
        return f"{row['architecture']}: {row['failure']}"
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in row["seconds"].items())
    return (
        f"{row['architecture']}: {'exact' if row['exact'] else 'NOT EXACT'}, "
        f"difference {row['max_relative_difference']:.1e}, one more unit "
        f"{row['change_by_one_more_unit']:.1e} ({seconds})"
    )


def _print(rows: list[dict[str, Any]], times: list[dict[str, Any]]) -> None:
    table = Table("architecture", "groups", "prunable parameters", "prunable MACs", "barriers",
                  "exact", "grouping")  # fmt: skip
    for row in rows:
        if "failure" in row:
            table.add_row(row["architecture"], "", "", "", "", "no", row["failure"])
            continue
        table.add_row(
            row["architecture"],
            str(row["groups"]),
            f"{row['prunable_parameter_share']:.1%}",
            f"{row['prunable_mac_share']:.1%}",
            str(sum(row["barriers"].values())),
            "yes" if row["exact"] else "no",
            f"{row['seconds']['group']:.3f} s",
        )
    console = Console()
    console.print(table)
    compared = Table("architecture", "tvm_prune", "Torch-Pruning", "ratio")
    for row in times:
        compared.add_row(
            row["architecture"],
            f"{row['ours_seconds']:.3f} s",
            f"{row['torch_pruning_seconds']:.3f} s",
            f"{row['ratio']:.2f}",
        )
    console.print(compared)


if __name__ == "__main__":
    main()
