"""A sweep as a table and as a plot."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm_prune.report.tables import text_table
from tvm_prune.units import SECONDS, cost_text

Row = Mapping[str, Any]


def sweep_text(sweep: Mapping[str, Any]) -> str:
    """The table of a sweep, and why budgets could not be met.

    Args:
        sweep: what :meth:`tvm_prune.sweep_result.SweepResult.to_json` gives.
    """
    models, missed = _models(sweep), [row for row in sweep["points"] if row["latency"] is None]
    board = sweep["board"]
    measured = "measured in one run, in turns" if sweep["measured_together"] else "sweep unfinished"
    parts = [f"{sweep['model']} on {board['name']} ({board['cpu']}), {measured}"]
    if models:
        shown = [name for name in _COLUMNS if name != "accuracy" or _has_accuracy(models)]
        rows = [[_COLUMNS[name](row) for name in shown] for row in models]
        parts.append(text_table(shown, rows))
    parts += [f"{row['budget']}: {row['reason']}" for row in missed]
    return "\n".join(parts) + "\n"


def sweep_plot(sweep: Mapping[str, Any]) -> bytes:
    """Latency against accuracy, or against importance kept without labelled data, as SVG.

    Models that another one beats are hollow; the others are joined.

    Args:
        sweep: what :meth:`tvm_prune.sweep_result.SweepResult.to_json` gives.
    """
    # Imported here because it takes a second, and only sweeps draw.
    from matplotlib.figure import Figure

    models = _models(sweep)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    kept = sorted((row for row in models if not row["dominated"]), key=_shown)
    _draw(axes, kept, "o-", "best at its latency")
    _draw(axes, [row for row in models if row["dominated"]], "o", "dominated", hollow=True)
    for row in models:
        axes.annotate(
            row["budget"], (_shown(row), _quality(row)), xytext=(4, -10),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axes.set_xlabel(f"latency measured on {sweep['board']['name']} ({_shown_unit(models)})")
    axes.set_ylabel("accuracy (%)" if _has_accuracy(models) else "importance kept (%)")
    axes.set_title(sweep["model"])
    axes.grid(alpha=0.3)
    if models:
        axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def _draw(axes: Any, rows: Sequence[Row], style: str, label: str, *, hollow: bool = False) -> None:
    if rows:
        axes.plot(
            [_shown(row) for row in rows], [_quality(row) for row in rows], style,
            label=label, color="tab:gray" if hollow else "tab:blue",
            markerfacecolor="none" if hollow else "tab:blue",
        )  # fmt: skip


def _models(sweep: Mapping[str, Any]) -> list[Row]:
    dense = [] if sweep["dense"] is None else [sweep["dense"]]
    return [*dense, *(row for row in sweep["points"] if row["latency"] is not None)]


def _shown(row: Row) -> float:
    """The latency in the unit of the plot: milliseconds stand for seconds."""
    latency = row["latency"]
    return float(latency["median"]) * (1e3 if latency["unit"] == SECONDS else 1.0)


def _shown_unit(models: Sequence[Row]) -> str:
    units = {row["latency"]["unit"] for row in models} or {SECONDS}
    return ", ".join("ms" if unit == SECONDS else unit for unit in sorted(units))


def _quality(row: Row) -> float:
    """Accuracy, or without labelled data the importance kept, in percent."""
    quality = row["importance_kept"] if row["accuracy"] is None else row["accuracy"]
    return float(quality) * 100


def _has_accuracy(models: Sequence[Row]) -> bool:
    return any(row["accuracy"] is not None for row in models)


_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "budget": lambda row: str(row["budget"]),
    "latency": lambda row: cost_text(row["latency"]["median"], row["latency"]["unit"]),
    "ratio": lambda row: f"{row['ratio']:.3f}",
    "accuracy": lambda row: f"{row['accuracy']:.2%}",
    "importance": lambda row: f"{row['importance_kept']:.1%}",
    "parameters": lambda row: f"{row['parameters']:,}",
    "MACs": lambda row: f"{row['macs']:,}",
    "": lambda row: "dominated" if row["dominated"] else "",
}
