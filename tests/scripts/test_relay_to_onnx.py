"""Relay models of an old TVM arrive through ONNX with the numbers that the old TVM computes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.evaluate import evaluate

from tvm_prune.channels import find_channels
from tvm_prune.frontend import load_onnx

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "relay_to_onnx.py"
NETWORKS = Path(__file__).parent / "relay_networks.py"

INTERPRETER = "python3.10"
PACKAGES = ("hhb-tvm==3.2.3", "numpy<2", "onnx", "tflite", "tqdm")
"""A TVM 0.16 that comes as a wheel, and what it imports without saying so."""
CACHE = Path.home() / ".cache" / "tvm-prune-tests" / "hhb-tvm-3.2.3"


def run(command: Sequence[str | Path], timeout: int = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def find_interpreter() -> Path | None:
    """An interpreter of the old TVM's Python, on the path or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(INTERPRETER), *sorted(pyenv.glob(f"versions/*/bin/{INTERPRETER}"))]
    works = (Path(path) for path in found if path and run([path, "--version"]).returncode == 0)
    return next(works, None)


@pytest.fixture(scope="module")
def old_python() -> Path:
    """The interpreter of a virtual environment with an old TVM, made once a machine."""
    python, stamp = CACHE / "bin" / "python", CACHE / "complete"
    if stamp.exists():
        return python
    interpreter = find_interpreter()
    if interpreter is None:
        pytest.skip(f"the old TVM's wheel needs {INTERPRETER}, which is not installed")
    shutil.rmtree(CACHE, ignore_errors=True)
    commands = [
        [interpreter, "-m", "venv", CACHE],
        [python, "-m", "pip", "install", "--quiet", *PACKAGES],
        [python, "-c", "from tvm import relay"],
    ]
    for command in commands:
        result = run(command, timeout=500)
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"an environment with {PACKAGES[0]} cannot be made: {reason}")
    stamp.touch()
    return python


@pytest.fixture(scope="module")
def networks(old_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Relay networks as files, and what the old TVM computes with them."""
    folder = tmp_path_factory.mktemp("relay")
    result = run([old_python, NETWORKS, folder])
    assert result.returncode == 0, result.stderr
    return folder


def converted(old_python: Path, module: Path, folder: Path) -> Path:
    output = folder / f"{module.stem}.onnx"
    parameters = module.with_suffix(".params")
    result = run([old_python, SCRIPT, module, output, "--params", parameters])
    assert result.returncode == 0, result.stderr
    return output


@pytest.mark.parametrize(
    ("name", "form", "widths"),
    [
        ("convolutions", "json", [8]),
        ("channels_last", "json", [6]),
        ("channels_last", "txt", [6]),
        ("attention", "json", None),
    ],
)
def test_a_relay_module_computes_what_the_old_tvm_computes(
    name: str, form: str, widths: list[int] | None, old_python: Path, networks: Path, tmp_path: Path
) -> None:
    path = converted(old_python, networks / f"{name}.{form}", tmp_path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    saved = dict(np.load(networks / f"{name}.npz"))
    x, expected = saved.pop("image"), saved.pop("output")
    model = load_onnx(path)
    assert {spec.name: spec.shape for spec in model.inputs} == {"image": x.shape}
    (actual,) = evaluate(model.module, x, model.parameters)
    assert np.abs(expected).std() > 1e-3
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert set(model.parameters) == set(saved)
    if widths is not None:
        assert [group.width for group in find_channels(model.module).groups] == widths


def test_parameters_keep_their_values_and_axes(
    old_python: Path, networks: Path, tmp_path: Path
) -> None:
    model = load_onnx(converted(old_python, networks / "convolutions.json", tmp_path))
    saved = np.load(networks / "convolutions.npz")
    assert model.parameters
    for name, value in model.parameters.items():
        # A bias may have got the unit axes that it is broadcast over.
        np.testing.assert_array_equal(np.squeeze(value), np.squeeze(saved[name]))


def failure(old_python: Path, *arguments: str | Path) -> str:
    result = run([old_python, SCRIPT, *arguments])
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def test_operators_that_onnx_lacks_are_named(
    old_python: Path, networks: Path, tmp_path: Path
) -> None:
    text = failure(old_python, networks / "unsupported.json", tmp_path / "model.onnx")
    assert "cannot be written as ONNX: nn.upsampling3d, vision.yolo_reorg" in text


def test_text_that_relay_cannot_read(old_python: Path, networks: Path, tmp_path: Path) -> None:
    text = failure(old_python, networks / "convolutions.txt", tmp_path / "model.onnx")
    assert "tvm.ir.save_json" in text


def test_a_missing_file(old_python: Path, tmp_path: Path) -> None:
    text = failure(old_python, tmp_path / "none.json", tmp_path / "model.onnx")
    assert f"There is no file {tmp_path / 'none.json'}" in text


def test_without_relay_the_script_says_where_it_runs() -> None:
    result = run([sys.executable, SCRIPT, "--help"])
    assert result.returncode == 1
    assert "inside an old TVM that still has Relay" in result.stderr
    assert "Traceback" not in result.stderr
