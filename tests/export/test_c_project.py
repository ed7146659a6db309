from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.onnx_models import onnx_model, weight

from tvm_prune.board import load_board
from tvm_prune.errors import BoardError, ExportError
from tvm_prune.export import write_c_project
from tvm_prune.firmware_build import compile_for, write_project
from tvm_prune.frontend import load
from tvm_prune.mcu import CModel
from tvm_prune.mcu.dialogue import run_model
from tvm_prune.mcu.project import read_project
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.model import Model

BOARD = load_board("mps2-an500")
WEIGHTS = weight(4, 3, 3, 3)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(onnx_model("c = Conv <pads=[1,1,1,1]> (x, w) y = Relu(c)", {"w": WEIGHTS}))


@pytest.fixture(scope="module")
def compiled(model: Model, tmp_path_factory: pytest.TempPathFactory) -> CModel:
    return compile_for(model, BOARD, tmp_path_factory.mktemp("cache"))


def built(folder: Path, *command: str) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def check_outputs(elf: Path, model: Model) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    link = QemuLink(str(BOARD.machine), elf)
    [[found]] = run_model(link, model.inputs, model.outputs, [{"x": x}]).outputs
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.maximum(np.einsum("chwij,ocij->ohw", windows, WEIGHTS), 0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("code", ["llvm", "c"])
def test_make_alone_builds_a_firmware_that_runs(model: Model, code: str, tmp_path: Path) -> None:
    write_project(model, BOARD, tmp_path / "fw", tmp_path / "cache", code)
    built(tmp_path / "fw", "make", "all", "firmware")
    assert (tmp_path / "fw/build/libmodel.a").is_file()
    check_outputs(tmp_path / "fw/build/firmware.elf", model)


def test_cmake_alone_builds_a_firmware_that_runs(
    model: Model, compiled: CModel, tmp_path: Path
) -> None:
    write_c_project(tmp_path, compiled, BOARD)
    built(tmp_path, "cmake", "-B", "build", "-DCMAKE_TOOLCHAIN_FILE=toolchain.cmake")
    built(tmp_path, "cmake", "--build", "build")
    check_outputs(tmp_path / "build/firmware.elf", model)


def test_a_project_tells_what_it_holds(compiled: CModel, tmp_path: Path) -> None:
    write_c_project(tmp_path, compiled, BOARD)
    project = read_project(tmp_path)
    assert project.board == "mps2-an500"
    assert project.inputs == compiled.inputs
    assert project.outputs == compiled.outputs
    assert project.kernels == compiled.kernel_names
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {*project.manifest["files"], "project.json"}


def test_an_older_project_leaves_no_kernels_behind(
    model: Model, compiled: CModel, tmp_path: Path
) -> None:
    write_c_project(tmp_path, compiled, BOARD)
    write_c_project(tmp_path, compile_for(model, BOARD, tmp_path / "cache", "c"), BOARD)
    assert (tmp_path / "kernels.c").is_file()
    assert not (tmp_path / "kernels.o").exists()
    read_project(tmp_path)


def test_the_readme_shows_how_to_call_the_model(compiled: CModel, tmp_path: Path) -> None:
    write_c_project(tmp_path, compiled, BOARD)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "model_run();" in readme
    assert f"{compiled.footprint.arena:,}" in readme
    assert "$" not in readme


@pytest.mark.parametrize(("part", "memory"), [("flash", "flash"), ("ram", "RAM")])
def test_a_board_too_small_is_refused_before_anything_is_built(
    part: str, memory: str, compiled: CModel, tmp_path: Path
) -> None:
    small = replace(BOARD, **{part: 256})
    with pytest.raises(ExportError, match=rf"256 bytes of {memory}.*--{part} 256"):
        write_c_project(tmp_path / "fw", compiled, small)
    assert not (tmp_path / "fw").exists()


def test_a_board_that_is_no_microcontroller_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="'host' is no microcontroller"):
        write_project(model, "host", tmp_path / "fw", tmp_path / "cache")
