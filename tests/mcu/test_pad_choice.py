"""Padding copied as a whole, by parts or folded in: the fastest that there is memory for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.onnx_models import onnx_model, weight

from tvm_prune.board import load_board
from tvm_prune.errors import ExportError
from tvm_prune.firmware_build import compile_for, write_project
from tvm_prune.frontend import load
from tvm_prune.mcu import CModel
from tvm_prune.mcu.dialogue import Report, run_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.model import Model

BOARD = load_board("mps2-an500")
PLENTY = 1 << 20
SHAPE = (1, 8, 16, 16)


@cache
def model() -> Model:
    body = "c = Conv <pads=[1,1,1,1]> (x, w, b) y = Relu(c)"
    weights = {"w": weight(8, 8, 3, 3), "b": weight(8)}
    return load(onnx_model(body, weights, inputs="float[1,8,16,16] x"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("padding")


def compiled(place: Path, ram: int) -> CModel:
    return compile_for(model(), BOARD, place / "cache", ram=ram)


def ran(compiled: CModel, place: Path) -> Report:
    folder = place / f"model-{compiled.footprint.arena}"
    elf = FirmwareBuilder(BOARD, place / "parts").build(compiled.files, folder)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype("float32")
    link = QemuLink(str(BOARD.machine), elf)
    return run_model(link, compiled.inputs, compiled.outputs, [{"x": x}])


def test_less_memory_costs_time_and_never_changes_the_outputs(place: Path) -> None:
    image = int(np.prod(SHAPE)) * 4
    padded = 8 * 18 * 18 * 4
    whole, rows, none = (
        compiled(place, ram) for ram in (PLENTY, 2 * image + padded // 2, 2 * image)
    )
    assert whole.footprint.arena >= 2 * image + padded
    assert 2 * image < rows.footprint.arena <= 2 * image + padded // 2
    assert none.footprint.arena == 2 * image
    reports = [ran(each, place) for each in (whole, rows, none)]
    fastest, slower, slowest = (report.costs[0] for report in reports)
    assert fastest < slower < slowest
    for report in reports[1:]:
        np.testing.assert_allclose(report.outputs[0][0], reports[0].outputs[0][0], atol=1e-5)


def test_the_same_memory_gives_the_same_code(place: Path) -> None:
    first, second = (compiled(place, 20_000) for _ in range(2))
    assert first.files == second.files


def test_memory_that_not_even_folding_saves_is_refused(place: Path) -> None:
    with pytest.raises(ExportError, match=r"takes 16,384 bytes at least, more than the 9,000"):
        write_project(model(), BOARD, place / "fw", place / "cache", ram=9_000)
    assert not (place / "fw").exists()
