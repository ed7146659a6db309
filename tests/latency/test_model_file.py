"""A latency model on disk is the model that was written, or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formula import FormulaCollector
from small_models import Kernels

from tvm_prune.errors import MeasureError
from tvm_prune.latency import (
    ActiveSampler,
    Effort,
    LatencyFitter,
    LatencyModel,
    load_model,
    save_model,
)

Find = Callable[[str], Kernels]
BOARD = "0123456789abcdef"


@pytest.fixture(scope="module")
def found(kernels: Find) -> Kernels:
    return kernels("residual")


@pytest.fixture(scope="module")
def model(found: Kernels) -> LatencyModel:
    fitter = LatencyFitter(found.families, "seconds")
    collector: Any = FormulaCollector(found.families)
    limits = found.compilation.limits
    return ActiveSampler(found.families, limits, collector, fitter, Effort(100)).run()


@pytest.fixture
def path(model: LatencyModel, tmp_path: Path) -> Path:
    path = tmp_path / "new" / "latency.json"
    save_model(model, path, BOARD)
    return path


def test_a_model_that_is_read_back_predicts_the_same(
    found: Kernels, model: LatencyModel, path: Path
) -> None:
    again = load_model(path, found.families, BOARD)
    for index, family in enumerate(found.families):
        widths = np.array([[w // 3 for w in family.widths], list(family.widths)])
        widths = widths.reshape(2, len(family.groups))
        np.testing.assert_array_equal(again.predict(index, widths), model.predict(index, widths))
        np.testing.assert_allclose(again.interval(index, widths), model.interval(index, widths))
    assert again.measured == model.measured
    assert again.unit == model.unit
    assert again.error == model.error


def test_the_file_is_plain_json_and_nothing_else_is_left(path: Path) -> None:
    data = json.loads(path.read_text())
    assert data["version"] == 1
    assert data["board"] == BOARD
    assert list(path.parent.iterdir()) == [path]


def test_another_board_is_refused(found: Kernels, path: Path) -> None:
    with pytest.raises(MeasureError, match=f"on the board {BOARD}, this one is other"):
        load_model(path, found.families, "other")


def test_another_version_is_refused(found: Kernels, path: Path) -> None:
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(MeasureError, match="has version 99; this program reads version 1"):
        load_model(path, found.families, BOARD)


def test_other_kernels_are_refused(found: Kernels, path: Path) -> None:
    with pytest.raises(MeasureError, match="other kernels or schedules"):
        load_model(path, found.families[1:], BOARD)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "else"}'])
def test_what_is_no_latency_model_is_refused(text: str, found: Kernels, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(MeasureError, match="is not a latency model"):
        load_model(path, found.families, BOARD)


def test_a_file_that_is_not_there_is_told(found: Kernels, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="measure first"):
        load_model(tmp_path / "none.json", found.families, BOARD)
