"""The summary of the planner benchmark, from rows written down here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.planner import figures_of


def row(method: str, samples: Sequence[float], **more: Any) -> dict[str, Any]:
    return {
        "experiment": "equal latency", "objective": "product", "against": "flops", "seed": 0,
        "level": 0.5, "method": method, "latency": {"samples": list(samples)},
        "accuracy": 0.9, **more,
    }  # fmt: skip


def test_the_latencies_of_a_pair_are_compared_turn_by_turn() -> None:
    slowing_down = [1.0, 2.0, 4.0]
    rows = [
        row("ours", [0.9 * taken for taken in slowing_down]),
        row("flops", [1.0, 2.0, 40.0]),
    ]
    assert figures_of(rows)["latency_above_flops_percent_by_product"] == pytest.approx(-10)


def test_each_method_is_compared_with_the_plan_that_was_made_against_it() -> None:
    rows = [
        row("ours", [1.0], accuracy=0.91),
        row("flops", [1.0], accuracy=0.90),
        row("ours", [1.0], accuracy=0.95, against="flops_any_width"),
        row("flops_any_width", [1.0], accuracy=0.92, against="flops_any_width"),
    ]
    found = figures_of(rows)
    assert found["accuracy_lead_over_flops_points"] == pytest.approx(1)
    assert found["accuracy_lead_over_flops_any_width_points"] == pytest.approx(3)
    assert "accuracy_lead_over_uniform_points" not in found


def test_the_lead_is_a_mean_over_seeds_and_levels_and_comes_with_its_standard_error() -> None:
    rows = [
        row(method, [1.0], accuracy=accuracy, seed=seed, level=level)
        for seed, level, ours in ((0, 0.5, 0.91), (0, 0.75, 0.92), (1, 0.5, 0.93))
        for method, accuracy in (("ours", ours), ("flops", 0.9))
    ]
    found = figures_of(rows)
    assert found["accuracy_lead_over_flops_points"] == pytest.approx(2)
    assert found["accuracy_lead_over_flops_points_error"] == pytest.approx(3**-0.5)


def test_a_refused_budget_is_counted_and_not_called_slower() -> None:
    rows = [
        {"experiment": "random budget", "refused": "cannot be met"},
        {"experiment": "random budget", "slower_than_dense": False},
    ]
    found = figures_of(rows)
    assert found == {"budgets": 2, "refused_budgets": 1, "slower_than_dense_count": 0}
