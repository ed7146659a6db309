"""The result of a run as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tvm_prune.report.tables import text_table
from tvm_prune.units import SECONDS, cost_text

_MEMORIES = {"flash": "flash", "ram": "RAM"}


def report_text(result: Mapping[str, Any]) -> str:
    """The report of a run.

    Args:
        result: what :meth:`tvm_prune.result.PruneResult.to_json` gives.
    """
    latency, error = result["latency"], result["latency_model"]
    predicted, measured = (
        cost_text(cost, latency["unit"])
        for cost in (latency["predicted"], latency["pruned"]["median"])
    )
    lines = [
        f"{result['model']} on {result['board']['name']} ({result['board']['cpu']}), "
        f"budget {result['budget']}",
        text_table(("", "dense", "pruned", "ratio"), _comparison(result)),
        f"Predicted {predicted} for the chosen plan, measured {measured}; "
        f"plans built: {len(latency['attempts'])}.",
        *_dropped(result.get("dropped_blocks", [])),
        _planner(result["planner"]["gap_percent"]),
        _model_error(error),
        f"Output equals {result['verification']['reference']} within "
        f"{result['verification']['max_relative_error']:.1e} on "
        f"{result['verification']['samples']} calibration inputs.",
        text_table(
            ("group", "dense", "kept"),
            [(width["group"], width["dense"], width["kept"]) for width in result["widths"]],
        ),
    ]
    return "\n".join(lines)


def _comparison(result: Mapping[str, Any]) -> list[tuple[object, ...]]:
    latency, accuracy = result["latency"], result["accuracy"]
    rows: list[tuple[object, ...]] = [
        (
            f"latency ({latency['unit']}, median of {latency['pruned']['samples']})",
            cost_text(latency["dense"]["median"], latency["unit"]),
            cost_text(latency["pruned"]["median"], latency["unit"]),
            f"{latency['ratio']:.3f}",
        ),
        (
            "  spread (interquartile range)",
            f"{latency['dense']['spread']:.1%}",
            f"{latency['pruned']['spread']:.1%}",
            "turn by turn" if latency["unit"] == SECONDS else "",
        ),
        _count_row("parameters", result["parameters"]),
        _count_row("multiply-accumulates", result["macs"]),
        *(
            _count_row(f"{_MEMORIES[name]} (bytes)", sizes)
            for name, sizes in result.get("memory", {}).items()
        ),
    ]
    if accuracy["dense"] is not None:
        drop = (accuracy["pruned"] - accuracy["dense"]) * 100
        rows.append(
            (f"accuracy (told by {accuracy['told_by']})", f"{accuracy['dense']:.2%}",
             f"{accuracy['pruned']:.2%}", f"{drop:+.2f} points")
        )  # fmt: skip
    return rows


def _count_row(title: str, count: Mapping[str, int]) -> tuple[str, ...]:
    ratio = f"{count['pruned'] / count['dense']:.3f}" if count["dense"] else ""
    return title, f"{count['dense']:,}", f"{count['pruned']:,}", ratio


def _dropped(blocks: Sequence[str]) -> list[str]:
    return [f"Blocks that went as a whole: {', '.join(blocks)}."] if blocks else []


def _planner(gap: float) -> str:
    """The solver's own tolerance is a hundredth of a percent: it claims nothing finer."""
    return f"Planner: optimal within {max(math.ceil(gap * 100) / 100, 0.01):.2f} %."


def _model_error(error: Mapping[str, Any]) -> str:
    if not error["samples"]:
        return "Latency model: too few measurements to hold some out."
    rank = error["spearman"]
    correlation = "" if rank is None else f", rank correlation {rank:.3f}"
    return (
        f"Latency model on {error['samples']} held-out kernels: mean error "
        f"{error['mape_percent']:.1f} %, {error['within_10_percent']:.0%} within 10 %"
        f"{correlation}."
    )
