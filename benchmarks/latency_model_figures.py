"""The latency benchmark's figures, computed from its rows, and its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

Row = Mapping[str, Any]

_TITLES = {
    "within_5_percent_share": "within 5 %",
    "within_10_percent_share": "within 10 %",
    "mape_percent": "mean error",
    "spearman": "Spearman",
}
_SECTIONS = {
    "": "kernels at unseen widths",
    "new_model_": "kernels of a new model",
    "end_to_end_": "whole models",
}
_COUNTS = (
    "measurements",
    "measurements_of_unsure",
    "test_kernels",
    "test_kernels_failed",
    "repeat_noise_percent",
    "interval_coverage_share",
    "end_to_end_variants",
    "end_to_end_variants_failed",
    "end_to_end_repeat_noise_percent",
)


def figures_of(rows: Sequence[Row], baselines: Iterable[str]) -> dict[str, float]:
    """The summary.

    Figures of our own predictions have no prefix of their own; those of a baseline have its name,
    after that of the section: ``end_to_end_nn_meter_mape_percent``.

    Args:
        rows: of models, kernels and variants.
        baselines: names of the other methods, whose predictions are columns of the rows.
    """
    kernels = [row for row in rows if row["row"] == "kernel"]
    wanted = [row for row in rows if row["row"] == "variant"]
    variants = [row for row in wanted if "failure" not in row]
    methods = ("ours", *baselines)
    figures = _section("", kernels, methods)
    figures["measurements"] = sum(
        row["measurements"] for row in rows if row["row"] in ("model", "unsure")
    )
    figures["measurements_of_unsure"] = sum(
        row["measurements"] for row in rows if row["row"] == "unsure"
    )
    figures["test_kernels"] = len(kernels)
    figures["test_kernels_failed"] = sum(row["row"] == "failed kernel" for row in rows)
    figures |= _repeats("", kernels) | _intervals(kernels)
    figures |= _section("new_model_", kernels, methods, column="new_model_")
    figures |= _section("end_to_end_", variants, (*methods, "unaided"))
    figures["end_to_end_variants"] = len(variants)
    figures["end_to_end_variants_failed"] = len(wanted) - len(variants)
    return figures | _repeats("end_to_end_", variants)


def accuracy(measured: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """How far predictions are from measurements, relative to the measurements."""
    off = np.abs(np.array(predicted) / np.array(measured) - 1)
    return {
        "within_5_percent_share": float((off <= 0.05).mean()),
        "within_10_percent_share": float((off <= 0.10).mean()),
        "mape_percent": float(off.mean() * 100),
        "spearman": float(spearmanr(measured, predicted).statistic),
    }


def _section(
    prefix: str, rows: Sequence[Row], methods: Iterable[str], column: str = ""
) -> dict[str, float]:
    """Accuracy of every method on rows that hold its predictions."""
    figures: dict[str, float] = {}
    for method in methods:
        known = [row for row in rows if column + method in row]
        if not known:
            continue
        name = prefix if method == "ours" else f"{prefix}{method}_"
        told = accuracy([row["measured"] for row in known], [row[column + method] for row in known])
        figures |= {name + figure: value for figure, value in told.items()}
    return figures


def _intervals(rows: Sequence[Row]) -> dict[str, float]:
    """How often a measurement is inside its prediction interval, and how wide those are."""
    told = [row for row in rows if "lowest" in row]
    if not told:
        return {}
    inside = [row["lowest"] <= row["measured"] <= row["highest"] for row in told]
    widths = [row["highest"] / row["lowest"] for row in told]
    return {
        "interval_coverage_share": float(np.mean(inside)),
        "interval_ratio_median": float(np.median(widths)),
    }


def _repeats(prefix: str, rows: Sequence[Row]) -> dict[str, float]:
    """How far the second measurement is from the first."""
    again = [row for row in rows if "again" in row]
    if not again:
        return {}
    first, second = ([row[name] for row in again] for name in ("measured", "again"))
    told = accuracy(first, second)
    off = np.abs(np.array(second) / np.array(first) - 1)
    return {
        f"{prefix}repeat_noise_percent": float(np.median(off) * 100),
        f"{prefix}repeat_within_5_percent_share": told["within_5_percent_share"],
        f"{prefix}repeat_within_10_percent_share": told["within_10_percent_share"],
        f"{prefix}repeat_mape_percent": told["mape_percent"],
    }


def print_figures(figures: Mapping[str, float], baselines: Iterable[str]) -> None:
    """One table: methods side by side, and beside them what measuring again achieves."""
    methods = list(baselines)
    table = Table("", "ours", *methods, "measured again")
    for prefix, title in _SECTIONS.items():
        if f"{prefix}mape_percent" not in figures:
            continue
        table.add_section()
        table.add_row(title, style="bold")
        for figure, words in _TITLES.items():
            names = [f"{prefix}{figure}", *(f"{prefix}{name}_{figure}" for name in methods)]
            names.append(f"{prefix}repeat_{figure}")
            table.add_row(words, *[_cell(figure, figures.get(name)) for name in names])
    console = Console()
    console.print(table)
    for name in _COUNTS:
        if name in figures:
            console.print(f"{name}: {figures[name]:.4g}", highlight=False)


def _cell(figure: str, value: float | None) -> str:
    if value is None:
        return ""
    if figure.endswith("share"):
        return f"{value:.0%}"
    return f"{value:.1f} %" if figure.endswith("percent") else f"{value:.3f}"
