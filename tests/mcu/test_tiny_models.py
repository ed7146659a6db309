"""The MLPerf Tiny networks on an emulated board."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tvm_prune.board import load_board
from tvm_prune.firmware_build import compile_for
from tvm_prune.frontend import load
from tvm_prune.mcu.dialogue import run_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.model import Model
from tvm_prune.operations import multiply_accumulates

MACS = {
    "resnet8": 12_501_632,
    "ds_cnn": 2_664_768,
    "mobilenet_v1_025": 7_489_664,
    "autoencoder": 264_192,
}


EXAMPLE = "fashion_resnet8"
BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547")
CODES = ("llvm", "c")
ROOT = Path(__file__).parents[2]

Array = NDArray[Any]
Given = tuple[Model, dict[str, Array], Array]


def written(folder: Path) -> Path:
    script = ROOT / "scripts" / "write_tiny_models.py"
    subprocess.run([sys.executable, str(script), "--output", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("firmware")


@pytest.fixture(scope="module")
def given(folder: Path) -> Callable[[str], Given]:
    """Each model, an input, and what ONNX Runtime makes of it."""

    @cache
    def of(network: str) -> Given:
        path = ROOT / "examples" / f"{EXAMPLE}.onnx" if network == EXAMPLE else None
        file = str(path or folder / f"{network}.onnx")
        model = load(file)
        [spec] = model.inputs
        values = np.random.default_rng(0).standard_normal(spec.shape).astype("float32")
        [expected] = onnxruntime.InferenceSession(file).run(None, {spec.name: values})
        return model, {spec.name: values}, expected

    return of


@pytest.mark.parametrize("network", MACS)
def test_the_networks_are_those_of_the_benchmark(network: str, folder: Path) -> None:
    model = load(str(folder / f"{network}.onnx"))
    assert multiply_accumulates(model.module) == pytest.approx(MACS[network], rel=0.03)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("network", [EXAMPLE, *MACS])
def test_outputs_are_those_of_onnx_runtime_on_every_board(
    network: str, board: str, code: str, given: Callable[[str], Given], place: Path
) -> None:
    model, inputs, expected = given(network)
    own = load_board(board)
    compiled = compile_for(model, own, place / "cache", code)
    assert compiled.footprint.arena <= 1.05 * compiled.footprint.arena_lower_bound
    elf = FirmwareBuilder(own, place / board).build(
        compiled.files, place / f"{network}-{board}-{code}"
    )
    link = QemuLink(str(own.machine), elf)
    [[found]] = run_model(link, compiled.inputs, compiled.outputs, [inputs]).outputs
    assert np.abs(expected).max() > 0.01
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_same_seed_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = written(tmp_path)
    for network in MACS:
        name = f"{network}.onnx"
        assert (again / name).read_bytes() == (folder / name).read_bytes()
