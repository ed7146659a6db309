"""Microcontrollers from the command line: real processes, and firmware built without this tool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support.onnx_models import onnx_model, weight

from tvm_prune.board import load_board
from tvm_prune.mcu.dialogue import run_model
from tvm_prune.mcu.project import read_project
from tvm_prune.mcu.qemu import QemuLink

ROOT = Path(__file__).parent.parent
BOARD = "mps2-an500"
BODY = """
    a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
    b = Conv <pads=[1,1,1,1]> (r, two) s = Relu(b)
    p = GlobalAveragePool(s) f = Flatten(p) y = Gemm <transB=1> (f, dense)
"""
SIZES = {"flash": "30KB", "ram": "20KB"}
BYTES = {"flash": 30 * 1024, "ram": 20 * 1024}

Finished = subprocess.CompletedProcess[str]


def tvm_prune(folder: Path, *arguments: object) -> Finished:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TVM_PRUNE_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "tvm_prune", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=500,
    )  # fmt: skip


def succeeded(finished: Finished) -> str:
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its data, and what ONNX Runtime says."""
    folder = tmp_path_factory.mktemp("user")
    weights = {"one": weight(16, 3, 3, 3), "two": weight(16, 16, 3, 3), "dense": weight(4, 16)}
    (folder / "model.onnx").write_bytes(onnx_model(BODY, weights).SerializeToString())
    images = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype("float32")
    np.savez(folder / "data.npz", x=images)
    np.savez(folder / "few.npz", x=images[:2])
    return folder


@pytest.fixture(scope="module")
def compiled(folder: Path) -> Path:
    said = succeeded(tvm_prune(folder, "compile", "model.onnx", "--board", BOARD, "-o", "fw"))
    assert "fw" in said
    return folder / "fw"


def check_outputs(found: list[list[float]], model: Path, folder: Path) -> None:
    session = onnxruntime.InferenceSession(model)
    with np.load(folder / "few.npz") as data:
        for output, image in zip(found, data["x"], strict=True):
            [expected] = session.run(None, {"x": image[None]})
            np.testing.assert_allclose([output], expected, rtol=1e-4, atol=1e-5)


def test_a_compiled_project_runs(compiled: Path, folder: Path) -> None:
    told = json.loads(succeeded(tvm_prune(folder, "run", "fw", "--input", "few.npz", "--json")))
    check_outputs(told["outputs"]["y"], folder / "model.onnx", folder)
    assert told["unit"] == "instructions"
    assert len(set(told["costs"])) == 1
    assert told["kernels"] == []
    said = succeeded(tvm_prune(folder, "run", "fw", "--input", "few.npz", "--profile"))
    assert f"{told['costs'][0]:,} instructions a run on {BOARD}" in said
    for kernel in read_project(compiled).kernels:
        assert kernel in said


def test_a_project_tells_estimated_cycles(compiled: Path, folder: Path) -> None:
    command = ["run", "fw", "--input", "few.npz", "--clock", "estimated-cycles", "--json"]
    told = json.loads(succeeded(tvm_prune(folder, *command)))
    assert told["unit"] == "estimated cycles"
    assert len(set(told["costs"])) == 1
    check_outputs(told["outputs"]["y"], folder / "model.onnx", folder)


def test_a_project_is_built_by_a_cross_compiler_alone(compiled: Path, folder: Path) -> None:
    """No Python on the PATH, and nothing of this package in the environment."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("make", "sh", "mkdir", "rm"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    for tool in sorted(Path("/usr/bin").glob("arm-none-eabi-*")):
        (tools / tool.name).symlink_to(tool)
    done = subprocess.run(
        ["make", "all", "firmware"], cwd=compiled, env={"PATH": str(tools)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (compiled / "build" / "libmodel.a").is_file()
    project = read_project(compiled)
    with np.load(folder / "few.npz") as data:
        batches = [{"x": image[None]} for image in data["x"]]
    link = QemuLink(str(load_board(BOARD).machine), compiled / "build" / "firmware.elf")
    report = run_model(link, project.inputs, project.outputs, batches)
    outputs = [output[0].tolist() for (output,) in report.outputs]
    check_outputs(outputs, folder / "model.onnx", folder)


def test_less_ram_than_the_model_can_do_with_is_an_error(folder: Path) -> None:
    finished = tvm_prune(
        folder, "compile", "model.onnx", "--board", BOARD, "--ram", "1KB", "-o", "small"
    )
    assert finished.returncode == 1
    assert "bytes at least, more than the 1,024 that --ram allows" in finished.stderr
    assert not (folder / "small").exists()


def test_pruning_for_a_board_meets_its_memory_and_latency(folder: Path) -> None:
    budgets = [part for name, size in SIZES.items() for part in (f"--{name}", size)]
    finished = tvm_prune(
        folder, "prune", "model.onnx", "--board", BOARD, *budgets, "--latency", "0.5x",
        "--calibration", "data.npz", "--trials", 1, "--samples", 2, "-o", "pruned", "--json",
    )  # fmt: skip
    result = json.loads(succeeded(finished))
    assert result["latency"]["unit"] == "instructions"
    assert result["latency"]["ratio"] <= 0.5
    told = json.loads(succeeded(tvm_prune(folder, "run", "pruned", "--input", "few.npz", "--json")))
    check_outputs(told["outputs"]["y"], folder / "pruned" / "model.onnx", folder)
    size = subprocess.run(
        ["arm-none-eabi-size", "-A", str(folder / "pruned" / "firmware.elf")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    sections = {line.split()[0]: int(line.split()[1]) for line in size.splitlines()[2:-2] if line}
    for memory, names in (
        ("flash", (".vectors", ".text", ".ARM.exidx", ".data")),
        ("ram", (".data", ".bss", ".stack")),
    ):
        assert 0 < sum(sections.get(name, 0) for name in names) <= BYTES[memory]
