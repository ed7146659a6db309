"""The report tells every figure, and machines can read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.onnx_models import onnx_model, weight

from tvm_prune.board import load_board
from tvm_prune.channels import find_channels
from tvm_prune.frontend import load_onnx
from tvm_prune.latency import ModelError
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model
from tvm_prune.plan import GroupWidth, PruningPlan
from tvm_prune.reachability import Reachability
from tvm_prune.report import boards_text, inspection_json, inspection_text, outputs_text
from tvm_prune.report.tables import text_table
from tvm_prune.result import PruneResult
from tvm_prune.tuning import FailureCount, KernelReport, TuningReport
from tvm_prune.tuning.report import Seconds
from tvm_prune.verification import Verification

NAN = float("nan")


def strict_json(data: Any) -> Any:
    """What comes back from text that any JSON parser accepts."""
    return json.loads(json.dumps(data, allow_nan=False))


@pytest.fixture(scope="module")
def model() -> Model:
    body = "a = Conv(x, conv__weight) r = Relu(a) s = Softmax <axis=1> (r) y = Conv(s, two)"
    weights = {"conv.weight": weight(6, 3, 1, 1), "two": weight(2, 6, 1, 1)}
    return replace(load_onnx(onnx_model(body, weights)), name="tiny")


@pytest.fixture(scope="module")
def result(model: Model) -> PruneResult:
    failures = (FailureCount("build", "no registers left", 2),)
    return PruneResult(
        model=model,
        plan=PruningPlan({}, {}, (GroupWidth("conv.weight", 48, 31),)),
        board=load_board("host"),
        budget="0.5x",
        dense_latency=Measurement((7.9e-3, 8.0e-3, 8.2e-3), "seconds"),
        latency=Measurement((3.9e-3, 4.0e-3, 4.4e-3, 4.0e-3, 4.0e-3), "seconds"),
        predicted=3.456e-3,
        dense_accuracy=0.9123,
        accuracy=0.9045,
        dense_parameters=123_456,
        dense_macs=7_654_321,
        importance_kept=0.8,
        gap=0.0123,
        model_error=ModelError(40, 6.25, 0.5, 0.85, 0.987),
        verification=Verification("ONNX Runtime, zero-masked dense model", 16, 2.5e-7),
        tuning=TuningReport((KernelReport("k", 9, failures, 1e-4, "seconds", Seconds()),), 3),
        attempts=((3.4e-3, 4.1e-3), (3.456e-3, 4.0e-3)),
        library=b"code",
    )


@pytest.mark.parametrize(
    "figure",
    [
        "tiny",
        "host",
        "budget 0.5x",
        "seconds",
        "8.000 ms",
        "4.000 ms",
        "0.500",
        "123,456",
        "7,654,321",
        "optimal within 1.23 %",
        "91.23%",
        "90.45%",
        "-0.78 points",
        "3.456 ms",
        "plans built: 2",
        "40 held-out",
        "6.2 %",
        "85% within 10 %",
        "0.987",
        "2.5e-07",
        "16 calibration inputs",
        "ONNX Runtime, zero-masked dense model",
        "conv.weight",
        "48",
        "31",
    ],
)
def test_the_report_tells_every_figure(figure: str, result: PruneResult) -> None:
    assert figure in result.report()


def test_the_report_tells_the_spread_of_both_latencies(result: PruneResult) -> None:
    [line] = [line for line in result.report().splitlines() if "spread" in line]
    assert [figure for figure in line.split() if figure.endswith("%")] == [
        f"{result.dense_latency.spread:.1%}",
        f"{result.latency.spread:.1%}",
    ]
    assert result.dense_latency.spread != result.latency.spread


def test_without_labelled_data_the_report_has_no_accuracy(result: PruneResult) -> None:
    unlabelled = replace(result, dense_accuracy=None, accuracy=None)
    assert "accuracy" in result.report()
    assert "accuracy" not in unlabelled.report()
    assert strict_json(unlabelled.to_json())["accuracy"]["pruned"] is None


def test_who_told_the_accuracy_is_said(result: PruneResult) -> None:
    emulated = replace(result, board=replace(result.board, emulated_cpu="cortex-a72"))
    assert "accuracy (told by the board)" in result.report()
    assert "accuracy (told by ONNX Runtime)" in emulated.report()


@pytest.mark.parametrize(
    ("gap", "said"), [(0.0, "within 0.01 %"), (0.00015, "within 0.02 %"), (0.2, "within 20.00 %")]
)
def test_the_report_never_claims_more_than_the_solver_proved(
    gap: float, said: str, result: PruneResult
) -> None:
    assert f"Planner: optimal {said}" in replace(result, gap=gap).report()


@pytest.mark.parametrize(
    "error", [ModelError(0, NAN, NAN, NAN, NAN), ModelError(9, 1.5, 1.0, 1.0, NAN)]
)
def test_what_could_not_be_computed_is_null_and_the_report_does_without(
    error: ModelError, result: PruneResult
) -> None:
    poor = replace(result, model_error=error)
    data = strict_json(poor.to_json())
    assert data["latency_model"]["spearman"] is None
    assert data["latency_model"]["samples"] == error.samples
    assert "Latency model" in poor.report()
    assert "nan" not in poor.report()


def test_the_json_form_is_json_and_holds_every_figure(result: PruneResult) -> None:
    data = strict_json(result.to_json())
    assert data["latency"] == {
        "unit": "seconds",
        "dense": {"median": 8.0e-3, "spread": result.dense_latency.spread, "samples": 3},
        "pruned": {"median": 4.0e-3, "spread": result.latency.spread, "samples": 5},
        "ratio": 0.5,
        "predicted": 3.456e-3,
        "attempts": [[3.4e-3, 4.1e-3], [3.456e-3, 4.0e-3]],
    }
    assert data["accuracy"] == {"dense": 0.9123, "pruned": 0.9045, "told_by": "the board"}
    assert data["parameters"] == {"dense": 123_456, "pruned": 30}
    assert data["macs"] == {"dense": 7_654_321, "pruned": (6 * 3 + 2 * 6) * 64}
    assert data["planner"] == {"gap_percent": pytest.approx(1.23)}
    assert data["tuning"]["trials"] == 9
    assert data["tuning"]["kernels_reused"] == 3
    assert data["tuning"]["failures"] == [
        {"stage": "build", "cause": "no registers left", "count": 2}
    ]
    assert data["widths"] == [{"group": "conv.weight", "dense": 48, "kept": 31}]
    assert data["verification"]["max_relative_error"] == 2.5e-7


@pytest.mark.parametrize("form", [PruneResult.report, lambda result: str(result.to_json())])
def test_emptiness_and_failure_are_no_obstacle(
    form: Callable[[PruneResult], str], result: PruneResult
) -> None:
    bare = replace(result, attempts=(), tuning=TuningReport(), plan=PruningPlan({}, {}))
    assert "tiny" in form(bare)


def test_an_inspection_tells_groups_frozen_axes_and_parameters(model: Model) -> None:
    channels = find_channels(model.module)
    text = inspection_text(model, channels)
    assert "tiny: 30 parameters; input x float32[1, 3, 8, 8]" in text
    assert f"{len(channels.groups)} groups with {channels.unit_count:,} units" in text
    for group in channels.groups:
        assert group.name in text
    for frozen in channels.frozen:
        assert f"{frozen.parameter}[{frozen.axis}]" in text
        assert frozen.reason.split()[0] in text
    assert channels.frozen


def test_the_json_form_of_an_inspection_is_json(model: Model) -> None:
    channels = find_channels(model.module)
    data = strict_json(inspection_json(model, channels))
    assert data["model"] == "tiny"
    assert data["parameters"] == 30
    assert [group["width"] for group in data["groups"]] == [
        group.width for group in channels.groups
    ]
    assert len(data["frozen"]) == len(channels.frozen)


def test_an_inspection_names_barriers() -> None:
    body = """
        a = Conv(x, one)
        r = Resize <coordinate_transformation_mode="align_corners", mode="linear"> (a, , , sizes)
        y = Conv(r, two)
    """
    weights = {
        "one": weight(6, 3, 1),
        "two": weight(2, 6, 1),
        "sizes": np.array([1, 6, 16], dtype="int64"),
    }
    barred = load_onnx(onnx_model(body, weights, inputs="float[1,3,8] x"))
    channels = find_channels(barred.module)
    [barrier] = channels.labelling.barriers
    assert f"{barrier.op} occurs 1 time" in inspection_text(barred, channels)
    assert strict_json(inspection_json(barred, channels))["barriers"][0]["op"] == barrier.op


def test_the_list_of_boards_tells_which_are_reachable() -> None:
    rows = [
        Reachability("host", "this machine", "skylake, 2 cores", True, ""),
        Reachability("far", "a board far away", "cortex-a72, 4 cores", False, "no route to host"),
    ]
    text = boards_text(rows)
    for words in ("host", "this machine", "skylake, 2 cores", "yes", "far", "no route to host"):
        assert words in text
    [far] = [line for line in text.splitlines() if line.split()[:1] == ["far"]]
    assert " no " in far


def test_outputs_are_shown_with_name_dtype_shape_and_values() -> None:
    text = outputs_text({"y": np.array([[1.25, -2.5]], "float32")})
    for words in ("y", "float32", "[1, 2]", "1.25", "-2.5"):
        assert words in text


def test_a_table_keeps_every_cell_however_long() -> None:
    long = "stage3.block2.conv1.weight." * 8
    text = text_table(("name", "width"), [(long, 64), ("[bold]not markup[/bold]", 8)])
    assert long in "".join(text.split()).replace("64", "")
    assert "[bold]not markup[/bold]" in text
    assert max(map(len, text.splitlines())) <= 100
