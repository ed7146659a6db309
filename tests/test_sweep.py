"""A sweep: many budgets in one session, and what is written about them.

How long whole models take is written down; everything else is real.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.table_board import DENSE, TableBoard, Widths, images, network

import tvm_prune
from tvm_prune import PruningPlan, Settings, SweepResult
from tvm_prune.board import load_board
from tvm_prune.errors import BudgetError
from tvm_prune.export import read_bundle
from tvm_prune.measurement import Measurement
from tvm_prune.pareto import spread_budgets
from tvm_prune.sweep_result import SweepPoint
from tvm_prune.workflow import Run


def cost(widths: Widths) -> float:
    """Half of the dense model's cost does not go away."""
    return 0.5 + 0.5 * widths[0] * widths[1] / (DENSE[0] * DENSE[1])


def labelled() -> Mapping[str, Any]:
    return {**images(16), "label": np.arange(16) % 4}


def run_sweep(folder: Path, board: TableBoard, **options: Any) -> SweepResult:
    with pytest.MonkeyPatch.context() as patch:
        board.install(patch)
        return tvm_prune.sweep(
            network(), output=folder / "out", points=3, start="0.9x", end="0.4x",
            calibration=images(16),
            settings=Settings(trials=1, samples=3, recover=False, cache=folder / "cache"),
            **options,
        )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def board(folder: Path) -> TableBoard:
    return TableBoard(cost, folder)


@pytest.fixture(scope="module")
def swept(folder: Path, board: TableBoard) -> SweepResult:
    return run_sweep(folder, board, evaluation=labelled())


def test_every_budget_that_can_be_met_has_a_verified_bundle(
    swept: SweepResult, folder: Path
) -> None:
    assert [point.name for point in swept.points] == ["0.90x", "0.65x", "0.40x"]
    for point, limit in zip(swept.points[:2], (0.9, 0.65), strict=True):
        assert point.bundle == folder / "out" / point.name
        manifest = read_bundle(point.bundle).manifest
        assert manifest["latency"]["ratio"] <= limit
        assert manifest["verification"]["max_relative_error"] <= 1e-4
        plan = PruningPlan.load(point.bundle / "plan.json")
        assert point.ratio == pytest.approx(cost(tuple(width.kept for width in plan.widths)))
        assert point.accuracy == manifest["accuracy"]["pruned"]


def test_a_budget_that_cannot_be_met_is_a_row_with_its_reason(swept: SweepResult) -> None:
    point = swept.points[2]
    assert point.latency is None
    assert point.bundle is None
    assert "No plan met" in point.reason or "No choice of widths" in point.reason
    assert point.reason in swept.report()


def test_at_the_end_all_models_are_measured_together(swept: SweepResult, board: TableBoard) -> None:
    assert swept.together
    assert board.timed[-1] == 3  # the dense model and two bundles


def test_table_plot_and_json_tell_the_same(swept: SweepResult, folder: Path) -> None:
    data = json.loads((folder / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert data == swept.to_json()
    assert [point["bundle"] for point in data["points"]] == ["0.90x", "0.65x", None]
    text = (folder / "out" / "sweep.txt").read_text(encoding="utf-8")
    assert text == swept.report()
    plot = (folder / "out" / "sweep.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(plot).tag.endswith("svg")
    for point in swept.models:
        assert point.name in text
        assert f"{point.accuracy:.2%}" in text
        assert f"{point.parameters:,}" in text
        assert f"<!-- {point.name} -->" in plot


def test_a_second_sweep_tunes_and_measures_nothing_again(swept: SweepResult, folder: Path) -> None:
    """Kernels and whole models come from the cache; only what is delivered is timed again."""
    again = TableBoard(cost, folder)
    result = run_sweep(folder, again)
    assert [point.ratio for point in result.points] == [point.ratio for point in swept.points]
    assert again.timed == [2, 2, 3]
    assert "accuracy" not in result.report()


def test_ctrl_c_leaves_the_finished_points(
    folder: Path, swept: SweepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune, asked = Run.prune, []

    def interrupted(run: Run, budgets: Any) -> Any:
        asked.append(str(budgets))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return prune(run, budgets)

    monkeypatch.setattr(Run, "prune", interrupted)
    (folder / "out" / "sweep.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(folder, TableBoard(cost, folder))
    data = json.loads((folder / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert [point["budget"] for point in data["points"]] == ["0.90x"]
    assert data["measured_together"] is False
    assert read_bundle(folder / "out" / "0.90x").manifest["budget"] == "0.9x"


@pytest.mark.parametrize(
    ("start", "end", "points", "names"),
    [
        ("0.9x", "0.3x", 4, ["0.90x", "0.70x", "0.50x", "0.30x"]),
        ("8ms", "2ms", 3, ["8.00ms", "5.00ms", "2.00ms"]),
        ("0.5x", "0.49x", 3, ["0.500x", "0.495x", "0.490x"]),
    ],
)
def test_budgets_are_spread_evenly_and_named(
    start: str, end: str, points: int, names: list[str]
) -> None:
    budgets = spread_budgets(start, end, points)
    assert list(budgets) == names
    values = [budget.resolve(1.0) for budget in budgets.values()]
    assert values == pytest.approx(np.linspace(values[0], values[-1], points).tolist())


@pytest.mark.parametrize(
    ("start", "end", "points", "said"),
    [
        ("0.9x", "0.9x", 3, "makes no sense"),
        ("0.9x", "1ms", 3, "both relative or both absolute"),
        ("0.9x", "0.5x", 1, "at least 2"),
        ("2x", "0.5x", 3, "between 0x and 1x"),
        ("soon", "0.5x", 3, "'soon'"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    start: str, end: str, points: int, said: str
) -> None:
    with pytest.raises(BudgetError, match=said):
        spread_budgets(start, end, points)


def point(name: str, milliseconds: float, accuracy: float | None, kept: float) -> SweepPoint:
    dense = Measurement((2e-3,), "seconds")
    return SweepPoint(
        name, Measurement((milliseconds * 1e-3,), "seconds"), dense, accuracy, kept, 10, 20
    )


@pytest.mark.parametrize("with_accuracy", [True, False])
def test_dominated_points_are_marked(with_accuracy: bool) -> None:
    values = [("dense", 2.0, 0.9), ("a", 1.5, 0.8), ("b", 1.6, 0.7), ("c", 1.0, 0.6)]
    dense, *points = [
        point(name, latency, quality if with_accuracy else None, quality)
        for name, latency, quality in values
    ]
    missed = SweepPoint("d", reason="nothing is that fast")
    result = SweepResult("m", load_board("host"), dense, (*points, missed), together=True)
    rows = {row["budget"]: row["dominated"] for row in result.to_json()["points"]}
    assert rows == {"a": False, "b": True, "c": False, "d": False}
    [line] = [line for line in result.report().splitlines() if "dominated" in line]
    assert line.split()[0] == "b"
    assert "d: nothing is that fast" in result.report()
    twins = replace(result, points=(points[0], replace(points[0], name="twin")))
    assert not any(row["dominated"] for row in twins.to_json()["points"])
