"""What the benchmark of model timing makes of its samples."""

from __future__ import annotations

from benchmarks.model_timing import WAYS, figures_of


def test_a_slowdown_of_both_models_moves_the_ratio_of_medians_alone() -> None:
    calm = [[1.0, 1.0, 1.0], [0.5, 0.5, 0.5]]
    slowed = [[1.0, 2.0, 2.0], [0.5, 1.0, 0.5]]
    rows = [{"way": way, "samples": samples} for way in WAYS for samples in (calm, slowed)]
    figures = figures_of(rows)
    assert figures["ratio_of_medians_five_processes_deviation_percent"] > 30
    assert figures["median_of_ratios_five_processes_deviation_percent"] == 0
