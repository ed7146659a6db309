"""Latency models as files: JSON, tied to the board they were measured on and to the kernels."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from tvm_prune.errors import MeasureError
from tvm_prune.latency.families import Family
from tvm_prune.latency.features import feature_names
from tvm_prune.latency.intervals import Intervals
from tvm_prune.latency.model import LatencyModel, ModelError

VERSION = 1
"""Version of the file's format; files of any other version are refused."""


def save_model(model: LatencyModel, path: Path, board: str) -> None:
    """Write a model to a file, all of it or nothing.

    Args:
        model: what to write; its kernels are named, not written.
        path: the file; an older one is replaced.
        board: fingerprint of the board that it was measured on.
    """
    data = {
        "format": "tvm_prune latency model",
        "version": VERSION,
        "board": board,
        "unit": model.unit,
        "families": names_of(model.families),
        "features": feature_names(),
        "dense_costs": model.dense_costs,
        "measured": [[family, widths, cost] for (family, widths), cost in model.measured.items()],
        "error": {name: _number(value) for name, value in asdict(model.error).items()},
        "intervals": {
            "quantile": _number(model.intervals.quantile),
            "scale": model.intervals.scale,
            "scales": {str(family): scale for family, scale in model.intervals.scales.items()},
        },
        "booster": json.loads(model.booster.save_raw("json")),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")
    draft.replace(path)


def load_model(path: Path, families: Sequence[Family], board: str) -> LatencyModel:
    """Read a model that was measured on the same board, for the same kernels.

    Args:
        path: the file.
        families: the kernels of the model that is to be predicted.
        board: fingerprint of the board that is to be predicted.

    Raises:
        MeasureError: if the file is no latency model, or one of another version, of another board,
            or for other kernels.
    """
    data = _read(path)
    if data["version"] != VERSION:
        raise MeasureError(
            f"The latency model {path} has version {data['version']}; this program reads version "
            f"{VERSION}. Remove it and measure again."
        )
    if data["board"] != board:
        raise MeasureError(
            f"The latency model {path} was measured on the board {data['board']}, this one is "
            f"{board}: another processor, core count, frequency governor or version of TVM. "
            "Measure this board instead."
        )
    if data["families"] != names_of(families) or data["features"] != feature_names():
        raise MeasureError(
            f"The latency model {path} is for other kernels or schedules than this model has. "
            "Remove it and measure again."
        )
    return _restored(data, families)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] == "tvm_prune latency model":
            return dict(data)
    except OSError as error:
        raise MeasureError(
            f"Cannot read the latency model {path}: {error.strerror}; measure first."
        ) from error
    except (ValueError, KeyError, TypeError):
        pass
    raise MeasureError(f"{path} is not a latency model; remove it and measure again.")


def _restored(data: Mapping[str, Any], families: Sequence[Family]) -> LatencyModel:
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(json.dumps(data["booster"]), "utf-8"))
    measured = {(family, tuple(widths)): cost for family, widths, cost in data["measured"]}
    intervals = Intervals(
        quantile=_value(data["intervals"]["quantile"]),
        scales={int(family): scale for family, scale in data["intervals"]["scales"].items()},
        scale=data["intervals"]["scale"],
        points={},
    ).with_points(
        [family for family, _ in measured],
        [np.array(widths, dtype=np.float64) for _, widths in measured],
    )
    return LatencyModel(
        families=families,
        booster=booster,
        dense_costs=tuple(data["dense_costs"]),
        measured=measured,
        unit=data["unit"],
        error=ModelError(**{name: _value(value) for name, value in data["error"].items()}),
        intervals=intervals,
    )


def names_of(families: Sequence[Family]) -> list[list[Any]]:
    """What tells families from one another: kernel, schedule and the groups they depend on."""
    return [
        [family.workload.key, family.source.key, list(family.calls), list(family.groups)]
        for family in families
    ]


def _number(value: float) -> float | str:
    """A number as JSON has it; infinities and what is not known as text."""
    return value if np.isfinite(value) else repr(float(value))


def _value(number: float | str) -> Any:
    return float(number) if isinstance(number, str) else number
