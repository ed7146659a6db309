"""The MLPerf Tiny networks on an emulated board."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tvm_prune.board import load_board
from tvm_prune.firmware_build import compile_for
from tvm_prune.frontend import load
from tvm_prune.mcu.dialogue import run_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.operations import multiply_accumulates

MACS = {
    "resnet8": 12_501_632,
    "ds_cnn": 2_664_768,
    "mobilenet_v1_025": 7_489_664,
    "autoencoder": 264_192,
}


def written(folder: Path) -> Path:
    script = Path(__file__).parents[2] / "scripts" / "write_tiny_models.py"
    subprocess.run([sys.executable, str(script), "--output", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("network", MACS)
def test_the_networks_are_those_of_the_benchmark(network: str, folder: Path) -> None:
    model = load(str(folder / f"{network}.onnx"))
    assert multiply_accumulates(model.module) == pytest.approx(MACS[network], rel=0.03)


@pytest.mark.parametrize("network", MACS)
def test_outputs_are_right_and_the_arena_is_small(
    network: str, folder: Path, tmp_path: Path
) -> None:
    board = load_board("mps2-an500")
    path = str(folder / f"{network}.onnx")
    model = compile_for(load(path), board, tmp_path / "cache", "c")
    [spec] = model.inputs
    inputs = {spec.name: np.random.default_rng(0).standard_normal(spec.shape).astype("float32")}
    assert model.footprint.arena <= 1.05 * model.footprint.arena_lower_bound
    elf = FirmwareBuilder(board, tmp_path / "parts").build(model.files, tmp_path / "model")
    link = QemuLink(str(board.machine), elf)
    [[found]] = run_model(link, model.inputs, model.outputs, [inputs]).outputs
    [expected] = onnxruntime.InferenceSession(path).run(None, inputs)
    assert np.abs(expected).max() > 0.01
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_same_seed_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = written(tmp_path)
    for network in MACS:
        name = f"{network}.onnx"
        assert (again / name).read_bytes() == (folder / name).read_bytes()
