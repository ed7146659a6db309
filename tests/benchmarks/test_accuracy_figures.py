"""The summary of the accuracy benchmark, from rows written down here."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.accuracy import to_finetune
from benchmarks.accuracy_figures import figures_of


def row(side: str, accuracy: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "architecture": "net", "seed": seed, "ratio": 0.5, "side": side, "dense_accuracy": 0.9,
        "accuracy": accuracy, "finetuned": None, "measured_ratio": 0.5, **more,
    }  # fmt: skip


def test_the_lead_is_over_the_best_of_torch_pruning() -> None:
    rows = [row("ours", 0.89), row("torch_pruning_a", 0.5), row("torch_pruning_b", 0.7)]
    found = figures_of(rows)
    assert found["drop_points_worst_at_half"] == pytest.approx(1)
    assert found["lead_over_torch_pruning_points_at_half"] == pytest.approx(19)
    assert "finetuned_lead_points_worst" not in found


def test_the_worst_network_counts_and_the_median_seed() -> None:
    rows = []
    for seed, accuracy in enumerate((0.88, 0.80, 0.86)):
        rows += [row("ours", accuracy, seed), row("torch_pruning_a", 0.6, seed)]
    rows += [row("ours", 0.7, architecture="other"), row("torch_pruning_a", 0.69,
                                                         architecture="other")]  # fmt: skip
    found = figures_of(rows)
    assert found["drop_points_net_0_5"] == pytest.approx(4)
    assert found["drop_spread_net_0_5"] == pytest.approx(8)
    assert found["drop_points_worst_at_half"] == pytest.approx(20)
    assert found["lead_over_torch_pruning_points_at_half"] == pytest.approx(1)


def test_failures_are_rows_that_decide_nothing() -> None:
    failed = {"architecture": "net", "seed": 0, "ratio": 0.5, "side": "torch_pruning_b",
              "dense_accuracy": 0.9, "failure": "it broke"}  # fmt: skip
    rows = [row("ours", 0.89, finetuned=0.9), failed, row("torch_pruning_a", 0.5, finetuned=0.85)]
    assert figures_of(rows)["finetuned_lead_points_worst"] == pytest.approx(5)
    assert figures_of([failed]) == {}


def test_one_comparison_is_finetuned_after_the_other_without_torch_prunings_lesser_ones() -> None:
    rows = [
        row("uniform", 0.8), row("torch_pruning_a", 0.5), row("torch_pruning_b", 0.7),
        row("ours", 0.89), row("ours", 0.88, seed=1, finetuned=0.9),
        row("torch_pruning_a", 0.6, seed=1),
    ]  # fmt: skip
    chosen = [(found["side"], found["seed"]) for found in to_finetune(rows)]
    assert chosen == [
        ("ours", 0), ("torch_pruning_b", 0), ("uniform", 0), ("torch_pruning_a", 1),
    ]  # fmt: skip
