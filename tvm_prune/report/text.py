"""The result of a run as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_prune.report.tables import text_table


def report_text(result: Mapping[str, Any]) -> str:
    """The report of a run.

    Args:
        result: what :meth:`tvm_prune.result.PruneResult.to_json` gives.
    """
    latency, error = result["latency"], result["latency_model"]
    lines = [
        f"{result['model']} on {result['board']['name']} ({result['board']['cpu']}), "
        f"budget {result['budget']}",
        text_table(("", "dense", "pruned", "ratio"), _comparison(result)),
        f"Predicted {_milliseconds(latency['predicted'])} for the chosen plan, measured "
        f"{_milliseconds(latency['pruned']['median'])}; plans built: {len(latency['attempts'])}.",
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
    parameters = result["parameters"]
    rows: list[tuple[object, ...]] = [
        (
            f"latency ({latency['unit']}, median of {latency['pruned']['samples']})",
            _milliseconds(latency["dense"]["median"]),
            _milliseconds(latency["pruned"]["median"]),
            f"{latency['ratio']:.3f}",
        ),
        (
            "  spread (interquartile range)",
            f"{latency['dense']['spread']:.1%}",
            f"{latency['pruned']['spread']:.1%}",
            "",
        ),
        (
            "parameters",
            f"{parameters['dense']:,}",
            f"{parameters['pruned']:,}",
            f"{parameters['pruned'] / parameters['dense']:.3f}",
        ),
    ]
    if accuracy["dense"] is not None:
        drop = (accuracy["pruned"] - accuracy["dense"]) * 100
        rows.append(
            ("accuracy", f"{accuracy['dense']:.2%}", f"{accuracy['pruned']:.2%}",
             f"{drop:+.2f} points")
        )  # fmt: skip
    return rows


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


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
