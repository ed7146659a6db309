"""The pipeline that TVM finds under the name ``tvm_prune``."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight
from tvm import relax
from tvm.target import Target

import tvm_prune
from tvm_prune.board import load_board
from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.errors import PlanError
from tvm_prune.frontend import load_onnx
from tvm_prune.measure.simulated import SimulatedMeasurer
from tvm_prune.measurement import Artifact, Failure, Measurement
from tvm_prune.model import Model
from tvm_prune.pipeline import register_with_tvm
from tvm_prune.plan import PruningPlan
from tvm_prune.transform import PruneChannels, masked_model, prune_parameters
from tvm_prune.transform.schedule_kernels import ScheduleKernels
from tvm_prune.tuning import kernel_calls, lower, open_database, tile_slots, tune, tuned_trace
from tvm_prune.verification import reference_outputs

Array = NDArray[Any]
NAME = "tvm_prune"


@pytest.fixture(scope="module")
def target() -> Target:
    return load_board("host").tvm_target()


@pytest.fixture(scope="module")
def model() -> Model:
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one)
        b = BatchNormalization(a, scale, shift, mean, variance) r = Relu(b)
        c = Conv <pads=[1,1,1,1]> (r, two) d = Add(c, r) s = Relu(d)
        p = GlobalAveragePool(s) f = Flatten(p)
        y = Gemm <transB=1> (f, dense)
    """
    generator = np.random.default_rng(0)
    weights = {
        "one": weight(16, 3, 3, 3),
        "two": weight(16, 16, 3, 3),
        "dense": weight(5, 16),
        "scale": generator.uniform(0.5, 1.5, 16).astype("float32"),
        "shift": generator.standard_normal(16).astype("float32"),
        "mean": generator.standard_normal(16).astype("float32"),
        "variance": generator.uniform(0.5, 1.5, 16).astype("float32"),
    }
    return load_onnx(onnx_model(body, weights))


@pytest.fixture(scope="module")
def plan(model: Model) -> PruningPlan:
    channels = find_channels(model.module)
    kept = [np.arange(group.width) % 3 > 0 for group in channels.groups]
    return plan_for_units(channels, kept, model.parameters)


@pytest.fixture(scope="module")
def image() -> dict[str, Array]:
    return {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype("float32")}


@pytest.fixture(scope="module")
def expected(model: Model, plan: PruningPlan, image: dict[str, Array]) -> Array:
    """Output of the dense model whose removed slices are zero."""
    [pruned] = reference_outputs(masked_model(model, plan), image)
    [dense] = reference_outputs(model, image)
    assert np.abs(pruned - dense).max() > 1e-2 * np.abs(dense).max()
    return pruned


def computed(executable: Any, *arrays: Array) -> Array:
    machine = relax.VirtualMachine(executable, tvm.cpu())
    result = machine["main"](*[tvm.runtime.tensor(array) for array in arrays])
    return np.asarray((result if hasattr(result, "numpy") else result[0]).numpy())


def assert_same(actual: Array, wanted: Array) -> None:
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def arguments(model: Model, values: dict[str, Array]) -> list[Array]:
    """Parameter values in the order in which ``main`` takes them."""
    names = [variable.name for variable in model.module["main"].params]
    return [values[name] for name in names[len(model.inputs) :]]


def test_a_model_is_pruned_and_compiled_in_one_call(
    model: Model, plan: PruningPlan, image: dict[str, Array], expected: Array, target: Target
) -> None:
    executable = tvm.compile(
        model.module, target, relax_pipeline=relax.get_pipeline(NAME, plan=plan)
    )
    values = arguments(model, prune_parameters(model.parameters, plan))
    assert_same(computed(executable, image["x"], *values), expected)


class PricedMeasurer(SimulatedMeasurer):
    """Nothing is free, not even moving data."""

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        return [
            Measurement((float(artifact.path.read_text()) + 1e-6,), self.unit)
            for artifact in artifacts
        ]


@pytest.fixture(scope="module")
def cache(model: Model, target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Schedules of the dense kernels as they lie in a cache directory; their cost is made up."""
    folder = tmp_path_factory.mktemp("cache")
    calls = kernel_calls(lower(dense_form(model), target))
    measurer = PricedMeasurer()
    database = open_database(folder / load_board("host").fingerprint)
    tune({call.workload: 1.0 for call in calls}, target, measurer, database, trials_per_kernel=2)
    measurer.close()
    return folder


def dense_form(model: Model) -> Any:
    """What the pipeline lowers: batch norms taken apart, parameters left as parameters."""
    passes = [relax.transform.DecomposeOpsForInference(), relax.transform.CanonicalizeBindings()]
    return tvm.transform.Sequential(passes)(model.module)


def test_tuned_schedules_change_nothing_but_speed(
    model: Model,
    plan: PruningPlan,
    image: dict[str, Array],
    expected: Array,
    cache: Path,
    target: Target,
) -> None:
    pipeline = relax.get_pipeline(NAME, plan=plan, cache=cache)
    executable = tvm.compile(model.module, target, relax_pipeline=pipeline)
    values = arguments(model, prune_parameters(model.parameters, plan))
    assert_same(computed(executable, image["x"], *values), expected)


def test_without_a_plan_the_model_stays_as_it_is(
    model: Model, image: dict[str, Array], cache: Path, target: Target
) -> None:
    pipeline = relax.get_pipeline(NAME, cache=cache)
    executable = tvm.compile(model.module, target, relax_pipeline=pipeline)
    [dense] = reference_outputs(model, image)
    values = arguments(model, dict(model.parameters))
    assert_same(computed(executable, image["x"], *values), dense)


@pytest.mark.parametrize("where", [None, "nowhere"])
def test_without_tuned_schedules_every_kernel_is_still_scheduled(
    where: str | None, model: Model, target: Target, tmp_path: Path
) -> None:
    lowered = lower(dense_form(model), target)
    with target:
        scheduled = ScheduleKernels(where and tmp_path / where)(lowered)
    assert_scheduled(scheduled, lowered)
    [first, *_] = kernel_calls(lowered)
    assert "T.vectorized" in str(scheduled[first.name])


def assert_scheduled(module: tvm.IRModule, lowered: tvm.IRModule) -> None:
    names = {call.name for call in kernel_calls(lowered)}
    assert names
    for variable, function in module.functions_items():
        if variable.name_hint in names:
            assert function.attrs["tirx.is_scheduled"]


def test_a_kernel_with_a_tuned_schedule_uses_it(model: Model, cache: Path, target: Target) -> None:
    lowered = lower(dense_form(model), target)
    with target:
        scheduled = ScheduleKernels(cache)(lowered)
    assert_scheduled(scheduled, lowered)
    database = open_database(cache / load_board("host").fingerprint)
    compared = 0
    for call in kernel_calls(lowered):
        trace = tuned_trace(database, call.workload, target)
        assert trace is not None
        if tile_slots(trace):
            again = tvm.s_tir.Schedule(call.workload.mod)
            trace.apply_to_schedule(again, remove_postproc=False)
            tvm.ir.assert_structural_equal(
                scheduled[call.name].without_attr("tirx.is_scheduled").body,
                again.mod["main"].body,
                map_free_vars=True,
            )
            compared += 1
    assert compared >= 2


def test_a_plan_that_does_not_fit_is_told_through_the_pipeline(
    model: Model, target: Target
) -> None:
    plan = PruningPlan({"nothing": {0: (0,)}}, {"nothing": (2,)})
    with pytest.raises(PlanError, match="parameter 'nothing'"):
        tvm.compile(model.module, target, relax_pipeline=relax.get_pipeline(NAME, plan=plan))


def test_channels_are_pruned_in_a_sequence_with_passes_of_tvm(
    model: Model, plan: PruningPlan
) -> None:
    passes = [PruneChannels(plan), relax.transform.CanonicalizeBindings()]
    pruned = tvm.transform.Sequential(passes)(model.module)
    shapes = {
        variable.name: tuple(int(extent) for extent in variable.ty.shape.values)
        for variable in pruned["main"].params
    }
    values = prune_parameters(model.parameters, plan)
    assert {name: shapes[name] for name in values} == {
        name: value.shape for name, value in values.items()
    }


@pytest.mark.parametrize("again", [register_with_tvm, lambda: importlib.reload(tvm_prune)])
def test_registering_again_is_harmless(again: Callable[[], object]) -> None:
    before = relax.pipeline.PIPELINE_MAP[NAME]
    again()
    assert relax.pipeline.PIPELINE_MAP[NAME] is before


def test_importing_the_package_is_all_it_takes() -> None:
    script = (
        "from tvm import relax\n"
        "assert 'tvm_prune' not in relax.pipeline.PIPELINE_MAP\n"
        "import tvm_prune\n"
        "print(relax.get_pipeline('tvm_prune').info.name)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert finished.stdout.strip() == NAME, finished.stderr
