"""Whatever the budgets, no plan that is delivered is slower than the dense model.

Kernels cost what the simulated board says; how long whole models take is written down here, so that
some of the pruned ones are slower than the dense one. Everything else is real: tuning, fitting,
planning, and compiling and verifying what is delivered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.table_board import DENSE, TableBoard, Widths, images, network

import tvm_prune
from tvm_prune import PruneResult, Settings, delivery
from tvm_prune.deployment import Deployed, deploy
from tvm_prune.errors import BudgetError
from tvm_prune.model import Model

DENSE_COST = 1.0

Pruning = Callable[..., PruneResult]


@pytest.fixture(scope="module")
def model() -> Model:
    return network()


@pytest.fixture
def pruned_on(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pruning:
    """Prunes on a board where whole models cost what a function of their widths says."""

    def prune(cost: Callable[[Widths], float], **budgets: Any) -> PruneResult:
        TableBoard(cost, tmp_path).install(monkeypatch)
        bounds = budgets.pop("bounds", {})
        settings = Settings(
            trials=1, samples=3, recover=False, cache=tmp_path / "cache", bounds=bounds
        )
        return tvm_prune.prune(model, calibration=images(16), settings=settings, **budgets)

    return prune


def widths_of(result: PruneResult) -> Widths:
    return tuple(width.kept for width in result.plan.widths)


def trap(widths: Widths) -> float:
    """Twice as slow as the dense model where the first group loses a little."""
    if widths == DENSE:
        return DENSE_COST
    return 2 * DENSE_COST if widths[0] > 7 else 0.8 * DENSE_COST


def always_slower(widths: Widths) -> float:
    return DENSE_COST if widths == DENSE else 1.5 * DENSE_COST


@pytest.mark.parametrize(
    "budgets",
    [
        {"parameters": "0.6x"},
        {"macs": "0.5x"},
        {"parameters": "0.6x", "macs": "0.6x", "latency": "10s"},
        {"latency": "10s", "bounds": {"one": (1, 15)}},
    ],
    ids=str,
)
def test_where_the_best_plan_is_slower_another_one_is_found(
    budgets: dict[str, Any], pruned_on: Pruning, model: Model
) -> None:
    result = pruned_on(trap, **budgets)
    assert any(measured > DENSE_COST for _, measured in result.attempts)
    assert trap(widths_of(result)) <= DENSE_COST
    assert result.latency.median <= result.dense_latency.median == DENSE_COST
    if "parameters" in budgets:
        assert result.model.parameter_count <= 0.6 * model.parameter_count


@pytest.mark.parametrize("budgets", [{"parameters": "0.6x"}, {"latency": "0.99x"}], ids=str)
def test_where_every_plan_is_slower_the_error_says_so(
    budgets: dict[str, Any], pruned_on: Pruning
) -> None:
    with pytest.raises(BudgetError, match=r"No plan met the (dense|latency).*measured at 1\.5 "):
        pruned_on(always_slower, **budgets)


@pytest.mark.parametrize("budgets", [{"latency": "10s"}, {"parameters": "1x"}], ids=str)
def test_budgets_that_the_dense_model_meets_return_it(
    budgets: dict[str, Any], pruned_on: Pruning, model: Model
) -> None:
    result = pruned_on(always_slower, **budgets)
    assert widths_of(result) == DENSE
    assert result.attempts == ()
    assert result.model.parameter_count == model.parameter_count
    assert result.latency == result.dense_latency


def test_a_plan_that_turns_out_slower_when_delivered_is_not_returned(pruned_on: Pruning) -> None:
    """The board slows down for one model after it was planned."""
    seen: list[Widths] = []

    def cost(widths: Widths) -> float:
        seen.append(widths)
        if widths == DENSE:
            return DENSE_COST
        slowed = widths == next(w for w in seen if w != DENSE) and seen.count(widths) > 1
        return 1.2 * DENSE_COST if slowed else 0.9 * DENSE_COST

    result = pruned_on(cost, parameters="0.6x")
    assert result.latency.median <= result.dense_latency.median


def test_a_machine_that_slows_down_before_the_delivery_does_not_make_the_prediction_wrong(
    pruned_on: Pruning, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed: list[float] = []

    def deploy_slowly(*arguments: Any) -> Deployed:
        slowed.append(2.0)
        return deploy(*arguments)

    def cost(widths: Widths) -> float:
        return math.prod(slowed) * sum(widths) / sum(DENSE)

    monkeypatch.setattr(delivery, "deploy", deploy_slowly)
    result = pruned_on(cost, latency="0.8x")
    assert slowed == [2.0]
    expected = {measured: predicted for predicted, measured in result.attempts}
    assert result.predicted == pytest.approx(2.0 * expected[result.latency.median / 2.0])


def test_counts_are_met_exactly_and_told(pruned_on: Pruning, model: Model) -> None:
    result = pruned_on(lambda widths: sum(widths) / sum(DENSE), parameters="0.7x", macs="60k")
    assert result.model.parameter_count <= 0.7 * model.parameter_count
    data = result.to_json()
    assert data["parameters"]["pruned"] == result.model.parameter_count
    assert data["macs"]["pruned"] <= 60_000 < data["macs"]["dense"]
    assert data["budget"] == "parameters 0.7x, macs 60,000"
    assert data["planner"]["gap_percent"] <= 0.01
    assert "optimal within 0.01 %" in result.report()


@pytest.mark.parametrize(
    ("budgets", "named"),
    [
        ({"parameters": "10"}, "budget for parameters;"),
        ({"macs": "10", "latency": "0.9x"}, "budget for macs;"),
    ],
    ids=str,
)
def test_a_budget_that_nothing_meets_is_named_with_the_closest_plan(
    budgets: dict[str, Any], named: str, pruned_on: Pruning
) -> None:
    with pytest.raises(BudgetError, match=named) as caught:
        pruned_on(trap, **budgets)
    assert "[2, 2]" in str(caught.value)
    assert "where 10 is allowed" in str(caught.value)
