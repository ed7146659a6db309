"""The main job for an emulated microcontroller: budgets, firmware, and running it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

from tvm_prune import Settings
from tvm_prune.budget import Budgets
from tvm_prune.cli import main
from tvm_prune.deployment import deploy
from tvm_prune.errors import BudgetError
from tvm_prune.frontend import load_onnx
from tvm_prune.mcu.project import read_project
from tvm_prune.model import Model
from tvm_prune.pareto import sweep
from tvm_prune.result import PruneResult
from tvm_prune.workflow import Run, prune, started

BOARD = "mps2-an500"
SETTINGS = {"trials": 1, "samples": 3}
FLASH, RAM = "22KB", "20KB"
ROUNDING = 64
"""Bytes by which an arena is larger because every tensor is aligned."""


def network() -> Model:
    """Two convolutions and a dense layer, with padding and a residual."""
    body = """
        a = Conv <pads=[1,1,1,1]> (x, stem, stem_bias) r = Relu(a)
        b = Conv <pads=[1,1,1,1]> (r, first, bias) s = Relu(b)
        c = Conv (s, second) d = Add(c, r)
        p = GlobalAveragePool(d) f = Flatten(p)
        y = Gemm <transB=1> (f, dense, dense_bias)
    """
    weights = {
        "stem": weight(16, 2, 3, 3),
        "stem_bias": weight(16),
        "first": weight(24, 16, 3, 3),
        "bias": weight(24),
        "second": weight(16, 24, 1, 1),
        "dense": weight(5, 16),
        "dense_bias": weight(5),
    }
    return load_onnx(onnx_model(body, weights, inputs="float[1,2,8,8] x"))


def images(count: int) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(1)
    return {"x": generator.standard_normal((count, 2, 8, 8)).astype("float32")}


@dataclass(frozen=True)
class Bundle:
    result: PruneResult
    folder: Path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(cache: Path) -> Iterator[Run]:
    with ExitStack() as stack:
        settings = Settings(cache=cache, **SETTINGS)  # type: ignore[arg-type]
        yield stack.enter_context(
            started(network(), BOARD, calibration=images(32), settings=settings)
        )


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    result = run.prune(Budgets.parse(latency="0.7x", flash=FLASH, ram=RAM))
    folder = tmp_path_factory.mktemp("bundle") / "fw"
    result.save(folder)
    return Bundle(result, folder)


def test_the_delivered_firmware_meets_all_budgets(run: Run, bundle: Bundle) -> None:
    result = bundle.result
    assert result.latency.unit == "instructions"
    assert result.latency_ratio <= 0.7
    memory = run.search.models.memory(bundle.folder / "firmware.elf")
    dense = run.search.models.dense_memory()
    assert memory["flash"] <= 22 * 1024 < dense["flash"]
    assert memory["ram"] <= 20 * 1024 < dense["ram"]
    assert result.to_json()["memory"] == {
        name: {"dense": dense[name], "pruned": memory[name]} for name in ("flash", "ram")
    }
    assert f"{memory['ram']:,.0f}" in result.report()
    assert "instructions" in result.report()
    assert " ms" not in result.report()


def test_a_bundle_is_a_c_project_that_computes_the_pruned_model(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = images(3)
    np.savez(tmp_path / "inputs.npz", **given)  # type: ignore[arg-type]
    command = ["run", str(bundle.folder), "--input", str(tmp_path / "inputs.npz"), "--json"]
    assert main(command) == 0
    ran = json.loads(capsys.readouterr().out)
    session = onnxruntime.InferenceSession(bundle.folder / "model.onnx")
    for index, output in enumerate(ran["outputs"]["y"]):
        [expected] = session.run(None, {"x": given["x"][index : index + 1]})
        np.testing.assert_allclose([output], expected, rtol=1e-4, atol=1e-5)
    assert ran["unit"] == "instructions"
    assert 0 < ran["stack"] < 8192
    assert read_project(bundle.folder).board == BOARD


def test_memory_at_any_widths_is_known_before_the_firmware_is_built(run: Run) -> None:
    models, counts, dense = run.search.models, run.search.memory, run.search.compilation.dense
    generator = np.random.default_rng(2)
    for _ in range(3):
        widths = tuple(int(generator.integers(2, width + 1)) for width in dense)
        known = counts.at(widths)
        models.room = counts.room(known["ram"] + ROUNDING)
        try:
            built = models.memory(models.build(widths))
        finally:
            models.room = None
        # Code is what schedules make of it; weights and arena are exact.
        assert abs(known["flash"] - built["flash"]) < 0.25 * built["flash"]
        assert abs(known["ram"] - built["ram"]) <= ROUNDING


def test_kernels_are_smaller_and_slower_where_that_meets_a_ram_budget(run: Run) -> None:
    models, counts = run.search.models, run.search.memory
    dense = run.search.compilation.dense
    widths = (dense[0], dense[1] - 1, *dense[2:])
    fastest = models.memory(models.build(widths))["ram"]
    least = counts.at(widths)["ram"]
    assert least < fastest
    fast_cost = models.cost(widths).median
    try:
        models.room = counts.room(least + ROUNDING)
        assert models.memory(models.build(widths))["ram"] <= least + ROUNDING
        assert models.cost(widths).median > fast_cost
        models.room = counts.room(fastest + ROUNDING)
        assert models.cost(widths).median == fast_cost
    finally:
        models.room = None


@pytest.mark.parametrize(
    ("budget", "named"), [({"flash": "3KB"}, "flash"), ({"ram": "9KB"}, "ram")]
)
def test_a_memory_that_is_too_small_is_named_with_the_closest_plan(
    budget: dict[str, str], named: str, run: Run
) -> None:
    with pytest.raises(BudgetError, match=f"the budget for {named}.*the closest one.*{named} "):
        run.prune(Budgets.parse(**budget))


def test_the_dense_firmware_computes_the_dense_model(run: Run) -> None:
    deployed = deploy(run.search, run.search.compilation.dense, images(16))
    assert deployed.verification.max_relative_error < 1e-4
    assert deployed.latency == deployed.dense_latency


@pytest.mark.parametrize(
    ("board", "budgets", "said"),
    [
        (BOARD, {"latency": "8ms"}, "in seconds, but the board 'mps2-an500' measures in instr"),
        (
            BOARD,
            {"latency": "20M cycles"},
            "in cycles, but .* 'mps2-an500' measures in instr",
        ),
        (
            "host",
            {"latency": "20 k instructions"},
            "in instructions, .* 'host' measures in sec",
        ),
        ("host", {"flash": "1MB"}, "flash needs a microcontroller"),
    ],
)
def test_budgets_that_make_no_sense_on_a_board_are_refused_at_once(
    board: str, budgets: dict[str, str], said: str
) -> None:
    with pytest.raises(BudgetError, match=said):
        prune(network(), board, calibration=images(4), **budgets)  # type: ignore[arg-type]


def test_a_sweep_tells_instructions(cache: Path, tmp_path: Path) -> None:
    swept = sweep(
        network(),
        BOARD,
        output=tmp_path,
        points=2,
        start="0.8x",
        end="0.6x",
        calibration=images(8),
        settings=Settings(cache=cache, recover=False, **SETTINGS),  # type: ignore[arg-type]
    )
    assert [point.ratio is not None and point.ratio <= 0.8 for point in swept.points] == [True] * 2
    assert " instructions" in swept.report()
    assert all((tmp_path / name / "firmware.elf").is_file() for name in ("0.80x", "0.60x"))
