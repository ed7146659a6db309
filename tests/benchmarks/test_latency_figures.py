"""The figures say what the rows hold, and the variants are what they are said to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.latency_model_figures import accuracy, figures_of, print_figures
from benchmarks.whole_variants import NARROWEST, WIDEST, draw_variants
from tvm_prune.latency import friendly_widths

BASELINES = ("flops", "nn_meter")


def kernel(measured: float, **columns: float) -> dict[str, Any]:
    return {"row": "kernel", "model": "net", "measured": measured, **columns}


def test_accuracy_is_relative_to_what_was_measured() -> None:
    told = accuracy([100, 100, 100, 200], [104, 92, 130, 200])
    assert told["within_5_percent_share"] == 0.5
    assert told["within_10_percent_share"] == 0.75
    assert told["mape_percent"] == pytest.approx((4 + 8 + 30 + 0) / 4)


def test_spearman_tells_the_order() -> None:
    assert accuracy([1, 2, 3], [10, 20, 30])["spearman"] == pytest.approx(1)
    assert accuracy([1, 2, 3], [30, 20, 10])["spearman"] == pytest.approx(-1)


def test_every_method_and_section_has_figures_of_its_own() -> None:
    columns = {"ours": 1.02, "flops": 1.08, "nn_meter": 1.5}
    new = {f"new_model_{name}": value + 1 for name, value in columns.items()}
    rows = [
        {"row": "model", "model": "net", "measurements": 40},
        {"row": "model", "model": "other", "measurements": 60},
        kernel(1.0, **columns, **new, again=1.03),
        kernel(2.0, **{name: 2 * value for name, value in (columns | new).items()}),
        {"row": "failed kernel", "model": "net", "failure": "crash"},
        {"row": "variant", "model": "net", "measured": 4.0, "ours": 4.4, "flops": 8.0,
         "nn_meter": 4.0, "again": 4.2},
        {"row": "variant", "model": "net", "failure": "no"},
    ]  # fmt: skip
    figures = figures_of(rows, BASELINES)
    assert figures["mape_percent"] == pytest.approx(2)
    assert figures["flops_within_10_percent_share"] == 1
    assert figures["nn_meter_within_10_percent_share"] == 0
    assert figures["new_model_mape_percent"] == pytest.approx(102)
    assert figures["new_model_flops_mape_percent"] == pytest.approx(108)
    assert figures["end_to_end_mape_percent"] == pytest.approx(10)
    assert figures["end_to_end_flops_mape_percent"] == pytest.approx(100)
    assert figures["end_to_end_variants"] == 1
    assert figures["end_to_end_variants_failed"] == 1
    assert figures["measurements"] == 100
    assert figures["test_kernels"] == 2
    assert figures["test_kernels_failed"] == 1
    assert figures["repeat_noise_percent"] == pytest.approx(3)
    assert figures["end_to_end_repeat_noise_percent"] == pytest.approx(5)


def test_noise_is_a_median_over_what_was_measured_again() -> None:
    again = {1.0: 1.01, 2.0: 1.96, 4.0: 12.0}
    rows = [kernel(first, ours=first, again=second) for first, second in again.items()]
    figures = figures_of([*rows, kernel(1.0, ours=1.0)], ())
    assert figures["repeat_noise_percent"] == pytest.approx(2)
    assert figures["repeat_within_5_percent_share"] == pytest.approx(2 / 3)


def test_intervals_are_held_against_what_was_measured() -> None:
    rows = [
        kernel(1.0, ours=1.0, lowest=0.9, highest=1.8),
        kernel(2.0, ours=4.0, lowest=3.0, highest=12.0),
    ]
    figures = figures_of(rows, ())
    assert figures["interval_coverage_share"] == 0.5
    assert figures["interval_ratio_median"] == pytest.approx(3)


def test_a_part_that_did_not_run_has_no_figures() -> None:
    figures = figures_of([kernel(1.0, ours=1.0), kernel(2.0, ours=2.0)], BASELINES)
    assert not [name for name in figures if name.startswith(("new_model", "flops", "repeat"))]
    assert "end_to_end_mape_percent" not in figures


def test_the_table_puts_methods_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"ours": 1.02, "flops": 1.2, "nn_meter": 1.3, "again": 1.01}
    rows = [kernel(cost, **{name: cost * off for name, off in columns.items()}) for cost in (1, 2)]
    print_figures(figures_of(rows, BASELINES), BASELINES)
    shown = capsys.readouterr().out
    [line] = [line for line in shown.splitlines() if "mean error" in line]
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["2.0 %", "20.0 %", "30.0 %", "1.0 %"]
    assert "whole models" not in shown


DENSE = (64, 128, 10, 256)
LIMITS = tuple((max(1, width // 10), width) for width in DENSE)


def test_variants_keep_friendly_widths_within_the_shares() -> None:
    for widths in draw_variants(DENSE, LIMITS, 50, seed=0):
        for width, dense, limit in zip(widths, DENSE, LIMITS, strict=True):
            friendly = friendly_widths(*limit)
            assert width in friendly
            step = max(np.diff(friendly))
            assert NARROWEST * dense - step <= width <= WIDEST * dense + step


def test_variants_are_repeatable_and_differ() -> None:
    first = draw_variants(DENSE, LIMITS, 15, seed=1)
    assert first == draw_variants(DENSE, LIMITS, 15, seed=1)
    assert first != draw_variants(DENSE, LIMITS, 15, seed=2)
    assert len(set(first)) == 15


def test_variants_spread_from_narrow_to_wide() -> None:
    kept = [sum(widths) / sum(DENSE) for widths in draw_variants(DENSE, LIMITS, 30, seed=0)]
    assert min(kept) < 0.45
    assert max(kept) > 0.75
